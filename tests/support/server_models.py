"""A server's folders of models and LoRA files, with small networks of random weights, and media that jobs take."""

import numpy as np
import PIL.Image
import yaml

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.weights.writing import write_safetensors
from tests.support.easy_folders import write_easy
from tests.support.real_people import cartoon

EASY = {"width": 64, "height": 48, "num_frames": 8, "num_inference_steps": 2, "dtype": "fp32"}


def write_easy_models(folder, strength=50.0):
    """models/easy_animate/tiny (folder of a checkpoint), small.yaml (the same in a small size), loras/style."""
    place = folder / "models" / "easy_animate"
    write_easy(place / "tiny", "v4")
    (place / "small.yaml").write_text(yaml.safe_dump({"model": str(place / "tiny"), **EASY, "device": "cpu"}))
    draw, name = np.random.default_rng(1), "lora_unet__blocks_0_attn1_to_q"
    lora = {f"{name}.lora_down.weight": draw.normal(size=(2, 32)), f"{name}.lora_up.weight": draw.normal(size=(32, 2))}
    (folder / "loras").mkdir()
    arrays = {key: (strength * value).astype(np.float32) for key, value in lora.items()}
    write_safetensors(folder / "loras" / "style.safetensors", arrays, {"format": "pt"})


def write_stable_model(folder, weights):
    """models/stable_animator/small.yaml, of the files that `tests.scripts.test_stable_animator` writes."""
    place = folder / "models" / "stable_animator"
    place.mkdir(parents=True)
    names = {name: f"{weights}/{name}.safetensors" for name in ("unet", "pose_net", "face_encoder")}
    refinement = {"recognizer": f"{weights}/recognizer.pth", "iterations": 1}
    values = {
        "svd": f"{weights}/svd",
        "faces": str(weights),
        **names,
        "refinement": refinement,
        "optimize_face": False,
    }
    values |= {"width": 128, "height": 64, "num_inference_steps": 1, "device": "cpu"}
    (place / "small.yaml").write_text(yaml.safe_dump(values))


def write_media(folder):
    """start.png, end.png, mask.png, video.mp4 of pixels, and me.png, dance.mp4 of a drawn person."""
    random = np.random.default_rng(0)
    write_image(folder / "start.png", random.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    write_image(folder / "end.png", np.full((48, 64, 3), 200, np.uint8))
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    write_image(folder / "mask.png", mask)
    with VideoWriter(folder / "video.mp4", 24, 64, 48) as writer:
        writer.write(np.stack([np.full((48, 64, 3), 10 * i, np.uint8) for i in range(12)]))
    write_image(folder / "me.png", cartoon())
    write_dance(folder / "dance.mp4")


def write_dance(path, frames=6, side=256, step=4):
    """A video of the drawn person, who goes to the right."""
    person = np.asarray(PIL.Image.fromarray(cartoon()).resize((side, side)))
    with VideoWriter(path, 25, side, side) as writer:
        for i in range(frames):
            writer.write(np.roll(person, step * i, axis=1))
