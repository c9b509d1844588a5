"""What `training_memory --trainer easy_animate...` measures: trainings of EasyAnimate at a quarter of its widths.

Networks have random weights and fewer blocks than the published ones (`QUARTER`), so that a run takes about a minute.
The weights of LPIPS are random as well: it has one size.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import cached_latents, harness

QUARTER = {
    **cached_latents.QUARTER,
    "transformer": {**cached_latents.QUARTER["transformer"], "num_layers": 12},
    "text_encoder": {**cached_latents.BERT, "num_hidden_layers": 4},
    "text_encoder_2": {**cached_latents.MT5, "num_layers": 4},
    "clips": 4,
}
SMALL = cached_latents.SMALL
SLICES = {
    "v2": {"slice_mag_vae": True, "mini_batch_encoder": 9, "mini_batch_decoder": 3},
    "v3": {"slice_compression_vae": True, "mini_batch_encoder": 8, "mini_batch_decoder": 2},
    "v4": {"cache_compression_vae": True, "mini_batch_encoder": 8, "mini_batch_decoder": 2},
}
_CACHED = {"latent_cache": "latents"}
_PICTURES = {"video_repeat": 0}
_LPIPS = {"perceptual": "lpips"}
_JUDGED = {"disc_start": 1}
# Trainer -> name -> options.
VARIANTS = {
    "easy_animate": {
        "plain": {},
        "checkpointing": {"gradient_checkpointing": True},
        "average": {"ema_decay": 0.999},
        "batch 2": {"per_device_train_batch_size": 2},
        "attn1": {"trainable_modules": ["attn1."]},
    },
    "easy_animate_lora": {
        "rank 16": {"rank": 16},
        "rank 128": {"rank": 128},
        "rank 128, checkpointing": {"rank": 128, "gradient_checkpointing": True},
        "rank 128, batch 2": {"rank": 128, "per_device_train_batch_size": 2},
        "rank 128, average": {"rank": 128, "ema_decay": 0.999},
        "rank 128, cached": {"rank": 128, **_CACHED},
        "rank 128, pictures": {"rank": 128, **_PICTURES},
        "rank 128, text": {"rank": 128, "train_text_encoder": True},
    },
    "easy_animate_vae": {
        "v4": SLICES["v4"],
        "v3": SLICES["v3"],
        "v2": SLICES["v2"],
        "v4, checkpointing": {**SLICES["v4"], "gradient_checkpointing": True},
        "v4, LPIPS": {**SLICES["v4"], **_LPIPS},
        "v4, discriminators": {**SLICES["v4"], **_JUDGED},
        "v4, all": {**SLICES["v4"], **_LPIPS, **_JUDGED, "ema_decay": 0.999},
        "v3, all, checkpointing": {**SLICES["v3"], **_LPIPS, **_JUDGED, "gradient_checkpointing": True},
        "v3, decoder": {**SLICES["v3"], "train_decoder_only": True},
        "v4, batch 2": {**SLICES["v4"], "per_device_train_batch_size": 2},
    },
}
CASES = {
    "easy_animate": ("128x128x16", "256x256x16"),
    "easy_animate_lora": ("128x128x16", "256x256x16"),
    "easy_animate_vae": ("64x64x16", "128x128x16"),
}


def prepare(folder, small):
    """Write networks, clips and pictures into a folder."""
    settings = SMALL if small else QUARTER
    cached_latents.write_all(folder, settings)
    given = {"folder": str(folder), **settings}
    harness.run_contestant("easy_training_memory", "write", given, title="nothing yet: writing LPIPS and pictures")


def keep_latents(file):
    """Run scripts.cache_latents for the YAML file of a training."""
    command = [sys.executable, "-m", "scripts.cache_latents", str(file)]
    run = subprocess.run(command, cwd=harness.ROOT, env=harness._ENVIRONMENT, capture_output=True, text=True)
    if run.returncode:
        words = " | ".join(run.stderr.strip().splitlines()[-3:])
        raise harness.ContestantError(f"scripts.cache_latents ended with exit code {run.returncode}: {words}")


def settings_of(folder, trainer, case, name, steps):
    """The options of a run, of which a value that is the name of something in the folder is its path."""
    side, _, frames = (int(part) for part in case.split("x"))
    options = VARIANTS[trainer][name]
    if trainer == "easy_animate_vae":
        frames = frames // 8 * 9 if name.startswith("v2") else frames  # which slices of 9 frames give back
        own = {
            "vae_config_path": str(folder / "model" / "vae"),
            "data_json_path": str(folder / "clips.json"),
            "perceptual": "none",
            "disc_start": 10**6,
            "video_size": side,
            "size": side,
            "video_len": frames,
        }
    else:
        sizes = dict.fromkeys(("video_sample_size", "image_sample_size", "token_sample_size"), side)
        own = {
            "pretrained_model_name_or_path": str(folder / "model"),
            "train_data_meta": str(folder / ("pictures.json" if options.get("video_repeat") == 0 else "clips.json")),
            "train_mode": "inpaint",
            **sizes,
            "video_sample_n_frames": frames,
            "video_sample_stride": 1,
            "vae_mini_batch": 1,
        }
    given = {key: str(folder / value) if value in ("latents", "lpips") else value for key, value in options.items()}
    return {
        **own,
        "do_train": True,
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "learning_rate": 1.0e-5,
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": 0,
        "device": "cpu",
        "disable_tqdm": True,
        "report_to": "none",
        "output_dir": str(folder / "out" / f"{trainer}-{case}-{name}".replace(", ", "-").replace(" ", "-")),
        **given,
    }


def write_perceptual(folder):
    """Files of LPIPS of random weights."""
    from ppdiffusers_ext.models.metrics.lpips import LPIPS
    from ppdiffusers_ext.training.easy_animate.autoencoder_check import LINEAR, VGG
    from ppdiffusers_ext.weights.writing import write_torch

    files = {VGG: {}, LINEAR: {}}
    for name, tensor in LPIPS().state_dict().items():
        is_feature = name.startswith("net.")
        key = f"features.{name.removeprefix('net.')}" if is_feature else name
        files[VGG if is_feature else LINEAR][key] = tensor.numpy()
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, arrays in files.items():
        write_torch(Path(folder) / name, arrays)


def write(settings):
    """LPIPS of random weights, and a meta file of pictures."""
    import numpy as np

    from ppdiffusers_ext.data.images import write_image

    folder, rng = Path(settings["folder"]), np.random.default_rng(0)
    write_perceptual(folder / "lpips")
    entries = []
    for number in range(settings["clips"]):
        path = folder / "clips" / f"picture-{number}.png"
        write_image(path, rng.integers(0, 255, (settings["side"], settings["side"], 3), dtype=np.uint8))
        entries.append({"file_path": str(path), "text": f"a picture {number}", "type": "image"})
    (folder / "pictures.json").write_text(json.dumps(entries), encoding="utf-8")
    return {"pictures": len(entries)}


def predict(settings):
    """What a process that is about to train will take."""
    from ppdiffusers_ext.training.animate_anyone.run import train  # noqa: F401 (what the trainer imports counts)
    from ppdiffusers_ext.training.trainers import TRAINERS

    ((_, plan),) = TRAINERS[settings["trainer"]].plan(settings["file"], "cpu", settings["processes"]).items()
    return {"predicted_bytes": plan.peak, "parts": plan.parts}


CONTESTANTS = {"write": write, "predict": predict}
