"""Two processes of the trainer against one: `scripts/trainer_stage1.py`, each process on one thread, on drawn clips.

Model and data are as large for each process, so two of them take twice the samples in a step. Everything that is
written lies in a temporary folder: clips, configuration, and what the runs leave.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks import harness
from benchmarks.networks import HEADS

STAGE = 1
CLIPS, FRAMES, MARGIN = 8, 16, 4
IMAGE_ENCODER = harness.ROOT / "assets" / "demo_model" / "image_encoder"
VAE = harness.ROOT / "configs" / "training" / "stable_animator_demo" / "vae.json"  # eight-fold, with random weights
_STEP, _SPEED, _SHARE = r"step (\d+)/\d+: loss", r" ([\d.e+-]+) samples/s", r"waiting for data ([\d.]+)%"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def compare(settings):
    """Train with one process and with two.

    Args:
        settings: those of the contestants, `side` (pixels), `batch` (samples of a process) and `steps`.

    Returns:
        dict of what `read_log` gives for `one` and `two` processes, the `ratio` of their samples per second, and what
        was run.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _write_clips(folder / "data", settings["side"])
        _write_configuration(folder, settings)
        one, two = (_train(folder, processes) for processes in (1, 2))
    ratio = two["samples_per_second"] / one["samples_per_second"]
    return {"one": one, "two": two, "ratio": ratio, "settings": settings}


def read_log(text):
    """Speed in the later half of the steps that a trainer has logged.

    Returns:
        dict of `samples_per_second` of all processes together, the number of `steps` it is of, and, where the trainer
        tells it, `data_share`: the part of their time in which the training waited for data.

    Raises:
        ContestantError: there are no such lines.
    """
    found = {}
    for line in text.splitlines():
        step, speed, share = (re.search(pattern, line) for pattern in (_STEP, _SPEED, _SHARE))
        if step and speed and float(speed[1]) > 0:
            found[int(step[1])] = float(speed[1]), float(share[1]) / 100 if share else None
    if not found:
        raise harness.ContestantError("the trainer has logged no samples per second")
    rows = [found[step] for step in sorted(found)][len(found) // 2 :]
    speeds, shares = zip(*rows)
    result = {"samples_per_second": statistics.harmonic_mean(speeds), "steps": len(rows)}
    if None not in shares:
        times = [1 / speed for speed in speeds]  # every step has as many samples
        result["data_share"] = sum(share * time for share, time in zip(shares, times)) / sum(times)
    return result


def _write_clips(folder, side):
    from ppdiffusers_ext.data.synthetic import write_clips

    for kind in ("video", "video_dwpose"):
        (folder / kind).mkdir(parents=True)
    write_clips(folder, 0, range(CLIPS), FRAMES, side // 2)  # whose files have twice as many pixels


def _write_configuration(folder, settings):
    from ppdiffusers import AutoencoderKL

    vae, encoder = (json.loads(path.read_text()) for path in (VAE, IMAGE_ENCODER / "config.json"))
    AutoencoderKL(**vae).save_pretrained(str(folder / "vae"), safe_serialization=True)
    unet = {
        **{key: settings[key] for key in ("block_out_channels", "layers_per_block")},
        "attention_head_dim": HEADS,
        "cross_attention_dim": encoder["projection_dim"],
        "in_channels": vae["latent_channels"],
        "out_channels": vae["latent_channels"],
    }
    options = {
        "do_train": True,
        "base_model_path": str(folder),
        "vae_model_path": str(folder / "vae"),
        "image_encoder_path": str(IMAGE_ENCODER),
        "inference_config_path": str(harness.ROOT / "configs" / "inference" / "inference_v2.yaml"),
        "uncond_ratio": 0.0,  # all steps cost the same
        "meta_paths": str(folder / "data"),
        "train_width": settings["side"],
        "train_height": settings["side"],
        "sample_margin": MARGIN,
        "per_device_train_batch_size": settings["batch"],
        "max_steps": settings["steps"],
        "logging_steps": 1,
        "save_strategy": "no",
        "lr_scheduler_type": "constant",
        "learning_rate": 1.0e-5,
        "device": "cpu",
        "disable_tqdm": True,
        "report_to": "none",
    }
    (folder / "unet").mkdir()
    (folder / "unet" / "config.json").write_text(json.dumps(unet))
    for processes, more in ((1, {}), (2, {"sharding": "stage1"})):
        text = yaml.safe_dump({**options, **more, "output_dir": str(folder / f"out{processes}")})
        (folder / f"{processes}.yaml").write_text(text)


def _train(folder, processes):
    """Run the trainer and read its log."""
    title = f"the trainer, {processes} process" + ("es" if processes > 1 else "")
    return read_log(run_trainer(f"trainer_stage{STAGE}", folder / f"{processes}.yaml", processes, title))


def run_trainer(script, file, processes, title):
    """What a trainer printed whose processes have one thread each.

    Args:
        script: in scripts, without ending.
        file: `Path` of its YAML file, beside which the logs of several processes go.
        processes: of them.
        title: of what is measured.

    Raises:
        ContestantError: it failed.
    """
    print(f"measuring {title} ...", file=sys.stderr, flush=True)
    logs = file.with_suffix(".logs")
    launch = ["-m", "scripts.launch", "--nproc_per_node", str(processes), "--log_dir", str(logs)]
    launch = launch if processes > 1 else []
    command = [sys.executable, "-u", *launch, f"scripts/{script}.py", str(file)]
    environment = {**harness._ENVIRONMENT, **_ONE_THREAD}
    run = subprocess.run(command, cwd=harness.ROOT, env=environment, capture_output=True, text=True)
    printed = run.stdout + run.stderr
    if run.returncode:
        worker = [path.read_text() for path in sorted(logs.glob("workerlog.*"))]
        words = " | ".join("\n".join([printed, *worker]).strip().splitlines()[-3:])
        raise harness.ContestantError(f"{title} ended with exit code {run.returncode}: {words}")
    return printed
