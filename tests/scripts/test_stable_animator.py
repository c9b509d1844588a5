"""scripts.stable_animator, from files to files, with small networks of random weights."""

import json

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video import VideoWriter, probe_video
from ppdiffusers_ext.pipelines import stable_animation
from ppdiffusers_ext.weights.writing import write_safetensors
from scripts import stable_animator
from scripts.command import run
from tests.pipelines.test_stable_animator import CONFIG, pipeline
from tests.preprocess.painted_faces import painted_faces, write_face_networks

__all__ = ["pipeline"]  # a fixture

FACE = (30, 20, 70, 70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pipeline):
    """The files of a small model, me.png with a face, and poses/."""
    folder = tmp_path_factory.mktemp("stable animator")
    svd = folder / "svd"
    pipeline.vae.save_pretrained(str(svd / "vae"))
    pipeline.image_encoder.save_pretrained(str(svd / "image_encoder"))
    for name, content in (
        ("unet/config", CONFIG["args"]["unet"]),
        ("scheduler/scheduler_config", CONFIG["scheduler"]),
    ):
        (svd / name).parent.mkdir(parents=True)
        (svd / f"{name}.json").write_text(json.dumps({**content, "_class_name": "of another library"}))
    for name in ("unet", "pose_net", "face_encoder"):
        arrays = {key: tensor.numpy() for key, tensor in getattr(pipeline, name).state_dict().items()}
        write_safetensors(folder / f"{name}.safetensors", arrays, {"format": "pd"})
    write_face_networks(folder)
    write_image(folder / "me.png", painted_faces((128, 128), FACE))
    random = np.random.default_rng(0)
    (folder / "poses").mkdir()
    for i in range(3):
        write_image(folder / "poses" / f"frame_{i}.png", random.integers(0, 255, (96, 96, 3), dtype=np.uint8))
    return folder


def call(folder, output, *arguments, image="me.png", poses="poses"):
    names = {"unet": "unet", "posenet": "pose_net", "face_encoder": "face_encoder"}
    weights = {f"--{option}_model_name_or_path": folder / f"{name}.safetensors" for option, name in names.items()}
    given = {
        "--pretrained_model_name_or_path": folder / "svd",
        **weights,
        "--faces": folder,
        "--validation_image": folder / image,
        "--validation_control_folder": folder / poses,
        "--output_dir": output,
        "--width": 128,
        "--height": 64,
        "--num_inference_steps": 1,
        **dict(zip(arguments[::2], arguments[1::2])),
    }
    words = [str(word) for pair in given.items() for word in pair if word is not None]
    return run(stable_animator.make_parser(), stable_animator.work, words)


def frames_of(output):
    return np.stack(list(open_frames(output / "animated_images")))


def test_picture_and_skeletons_become_pictures_a_gif_and_a_video(folder, tmp_path, capsys):
    assert call(folder, tmp_path / "out") == 0
    assert "video     " in capsys.readouterr().out
    frames = frames_of(tmp_path / "out")
    assert frames.shape == (3, 64, 128, 3) and frames.std() > 1
    info = probe_video(tmp_path / "out" / "animated_images.mp4")
    assert (info.width, info.height, info.num_frames, info.fps) == (128, 64, 3, 8)
    with PIL.Image.open(tmp_path / "out" / "animated_images.gif") as gif:
        assert gif.n_frames == 3 and gif.size == (128, 64) and gif.info["duration"] in (120, 125, 130)


def test_video_of_skeletons_seed_and_memory(folder, tmp_path):
    with VideoWriter(folder / "poses.mp4", 8, 96, 96, crf=0) as writer:
        writer.write(np.stack(list(open_frames(folder / "poses"))))
    assert call(folder, tmp_path / "a", "--low-memory", None, poses="poses.mp4") == 0
    assert call(folder, tmp_path / "b", poses="poses.mp4") == 0
    assert call(folder, tmp_path / "c", "--seed", 1, poses="poses.mp4") == 0
    first, same, other = (frames_of(tmp_path / name).astype(int) for name in "abc")
    assert np.array_equal(first, same) and np.abs(first - other).max() > 5


def test_face_is_found_in_the_picture(folder, tmp_path, capsys):
    write_image(folder / "nobody.png", painted_faces((128, 128)))
    assert call(folder, tmp_path / "nobody", image="nobody.png") == 0
    assert "shows no face: the animation follows the picture alone" in capsys.readouterr().err
    assert call(folder, tmp_path / "face") == 0
    assert "no face" not in capsys.readouterr().err
    assert call(folder, tmp_path / "none", "--no-face", None) == 0
    assert np.abs(frames_of(tmp_path / "face").astype(int) - frames_of(tmp_path / "none")).max() > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--width", 100), "100x64 does not fit; multiples of 64 are accepted"),
        (
            ("--unet_model_name_or_path", "nowhere.pth"),
            "nowhere.pth, do not exist; `python scripts/download",
        ),
        (("--pretrained_model_name_or_path", "nowhere"), "nowhere, do not exist"),
        (("--faces", "nowhere"), "--only antelopev2"),
        (("--validation_control_folder", "nowhere"), "nowhere does not exist"),
        (("--validation_image", "nowhere.png"), "nowhere.png does not exist"),
        (("--tile_size", 1), "cannot be cut into tiles of 1"),
        (("--device", "gpu"), "needs a Paddle with CUDA"),
        (("--fps", 0), "fps 0.0 and decode_chunk_size 4 do not fit"),
        (("--decode_chunk_size", 0), "fps 8 and decode_chunk_size 0 do not fit"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(folder, tmp_path, capsys, arguments, message):
    assert call(folder, tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not list(tmp_path.rglob("*.*"))


def test_what_does_not_fit_is_told_before_networks_are_opened(folder, tmp_path, capsys, monkeypatch):
    for name in ("FaceAnalyzer", "load_pipeline"):
        monkeypatch.setattr(stable_animation, name, lambda *_: pytest.fail("networks are opened"))
    for arguments in (("--width", 100), ("--tile_size", 1), ("--fps", -1), ("--num_inference_steps", 0)):
        assert call(folder, tmp_path / "out", *arguments) == 2
    assert capsys.readouterr().err.count("error: ") == 4


def test_pictures_of_an_earlier_run_stay(folder, tmp_path, capsys):
    write_image(tmp_path / "out" / "animated_images" / "frame_7.png", np.zeros((16, 16, 3), np.uint8))
    assert call(folder, tmp_path / "out") == 2
    assert "animated_images" in (error := capsys.readouterr().err.splitlines()[-1]) and "empty folder is" in error
    assert [path.name for path in tmp_path.rglob("*.*")] == ["frame_7.png"]


def test_weights_of_another_network_are_named(folder, tmp_path, capsys):
    code = call(folder, tmp_path / "out", "--unet_model_name_or_path", folder / "pose_net.safetensors")
    assert code == 2
    assert "does not hold the weights of this AnimationUNet" in capsys.readouterr().err
