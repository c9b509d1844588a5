"""Peak memory of StableAnimator's training beside what `scripts.plan_memory --train` predicts, and what less costs.

    python -m benchmarks training_memory --json training_memory.json

Runs scripts/trainer_stable_animator.py for some steps on drawn clips, with a UNet of a quarter of Stable Video
Diffusion's widths (see MIDDLE) and small frozen networks of random weights: as it is, with gradient checkpointing,
with --sharding stage1 between two processes, and with both. `ratio` is what was predicted divided by the peak of a
process; `speed` is samples per second and process, relative to the first row of the same size. Two processes share the
machine's cores, and have a thread each as one has.

Paddle has no bf16 or fp16 training on a CPU, and shards no more than the optimiser's state there, so that neither is
measured here.
"""

import json
import re
import tempfile
from pathlib import Path

import yaml

from benchmarks import full_size, harness
from benchmarks.svd_clip import SCHEDULER
from benchmarks.svd_clip import SMALL_VAE as VAE
from benchmarks.svd_step import SMALL_UNET
from benchmarks.training_scaling import read_log, run_trainer
from ppdiffusers_ext.errors import InputError

MIDDLE = {
    "block_out_channels": [96, 160, 320, 320],
    "cross_attention_dim": 256,
    "num_attention_heads": [3, 5, 10, 10],
    "addition_time_embed_dim": 64,
    "projection_class_embeddings_input_dim": 192,
}
CASES = ("128x128x8", "192x128x8", "256x256x4")
VARIANTS = {  # name -> processes, gradient checkpointing
    "plain": (1, False),
    "checkpointing": (1, True),
    "sharding": (2, False),
    "sharding, checkpointing": (2, True),
}
_CLIPS, _FRAMES = 4, 12


def add_arguments(parser):
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="WxHxL", help=f"default: {' '.join(CASES)}")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=tuple(VARIANTS), metavar="NAME", help="default: all of them"
    )
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="of each run (default 4)")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the benchmark itself")


def compete(options):
    for case in options.cases:
        if not re.fullmatch(r"\d+x\d+x\d+", case):
            raise InputError(f"--cases {case} is no size; such as 128x128x8 (width, height, frames) is accepted")
    if options.steps < 2:
        raise InputError(f"--steps {options.steps} is too few; 2 or more is accepted")
    rows = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        written = {"folder": folder, "unet": SMALL_UNET if options.small else MIDDLE}
        harness.run_contestant("training_memory", "write", written, title="nothing yet: writing weights and clips")
        for case in options.cases:
            for name in options.variants:
                processes, checkpointing = VARIANTS[name]
                settings = _settings(Path(folder), case, processes, checkpointing, options.steps)
                file = Path(folder) / f"{len(rows)}.yaml"
                file.write_text(yaml.safe_dump(settings))
                predicted = harness.run_contestant(
                    "training_memory",
                    "predict",
                    {"file": str(file), "processes": processes},
                    title=f"{case} {name}: plan",
                )
                printed = run_trainer("trainer_stable_animator", file, processes, f"{case} {name}")
                rows[f"{case} {name}"] = {**_read(printed, processes), **predicted}
    ratios = {name: row["predicted_bytes"] / row["peak_bytes"] for name, row in rows.items()}
    harness.print_table(rows, ratios, "predicted / peak")
    for name, row in rows.items():
        first = rows[f"{name.split()[0]} {options.variants[0]}"]
        row["speed"] = first["seconds"] / row["seconds"]
        print(f"{name}: {row['speed']:.2f} of the samples of a process")
    largest = max(rows, key=lambda name: rows[name]["peak_bytes"])
    ours = {key: rows[largest][key] for key in ("seconds", "peak_bytes")}
    return {**harness.result(ours, {}, cases=rows, settings={"steps": options.steps}), "ratios": ratios}


def _read(printed, processes):
    """Seconds of a process for a sample, and its peak."""
    peaks = [float(number) for number in re.findall(r"memory ([\d.]+) GB", printed)]
    return {
        "seconds": processes / read_log(printed)["samples_per_second"],
        "peak_bytes": round(max(peaks) * 10**9),
    }


def _settings(folder, case, processes, checkpointing, steps):
    width, height, frames = map(int, case.split("x"))
    return {
        "do_train": True,
        "pretrained_model_name_or_path": str(folder / "svd"),
        "unet_model_path": "none",
        "gradient_checkpointing": checkpointing,
        "data_path": str(folder / "clips"),
        "dataset_width": width,
        "dataset_height": height,
        "sample_n_frames": frames,
        "sample_stride": 1,
        "per_device_train_batch_size": 1,
        "max_steps": steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "learning_rate": 1.0e-5,
        "device": "cpu",
        "disable_tqdm": True,
        "report_to": "none",
        "output_dir": str(folder / f"output-{case}-{processes}-{checkpointing}"),
        **({"sharding": "stage1"} if processes > 1 else {}),
    }


def write(settings):
    """Networks of random weights, and drawn clips."""
    from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
    from ppdiffusers_ext.pipelines.loading import describe_image_encoder, make_video_vae
    from ppdiffusers_ext.weights.writing import write_safetensors

    folder, unet = Path(settings["folder"]), settings["unet"]
    svd = folder / "svd"
    encoder = {**full_size.SMALL_CLIP, "projection_dim": unet["cross_attention_dim"]}
    for name, values in (
        ("unet/config.json", unet),
        ("image_encoder/config.json", encoder),
        ("scheduler/scheduler_config.json", SCHEDULER),
    ):
        (svd / name).parent.mkdir(parents=True)
        (svd / name).write_text(json.dumps(values))
    make_video_vae(VAE).save_pretrained(str(svd / "vae"), safe_serialization=True)
    part = describe_image_encoder(svd / "image_encoder")
    arrays = {key: full_size.drawn(key, tensor) for key, tensor in part.model.state_dict().items()}
    write_safetensors(svd / "image_encoder" / "model.safetensors", arrays, {"format": "pd"})
    write_animation_clips(folder / "clips", 0, range(_CLIPS), _FRAMES, 64)
    return {"clips": _CLIPS}


def predict(settings):
    """What a process that is about to train will take."""
    from ppdiffusers_ext.training.animate_anyone.run import train  # noqa: F401 (what the trainer imports counts)
    from ppdiffusers_ext.training.stable_animator.memory import plan_file

    ((_, plan),) = plan_file(settings["file"], "cpu", settings["processes"]).items()
    return {"predicted_bytes": plan.peak, "parts": plan.parts}


CONTESTANTS = {"write": write, "predict": predict}
