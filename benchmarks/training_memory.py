"""Peak memory of a training beside what `scripts.plan_memory --train` predicts, and what less memory costs.

    python -m benchmarks training_memory --json training_memory.json
    python -m benchmarks training_memory --trainer easy_animate_lora --cases 256x256x16

Runs scripts/trainer_stable_animator.py for some steps on drawn clips, with a UNet of a quarter of Stable Video
Diffusion's widths (see MIDDLE) and small frozen networks of random weights: as it is, with gradient checkpointing,
with --sharding stage1 between two processes, and with both. `ratio` is what was predicted divided by the peak of a
process; `speed` is samples per second and process, relative to the first row of the same size. Two processes share the
machine's cores, and have a thread each as one has. With --trainer easy_animate, easy_animate_lora or easy_animate_vae
it runs those of EasyAnimate, in the variants of `easy_training_memory`.

Paddle has no bf16 or fp16 training on a CPU, and shards no more than the optimiser's state there, so that neither is
measured here.
"""

import json
import re
import tempfile
from pathlib import Path

import yaml

from benchmarks import easy_training_memory, full_size, harness
from benchmarks.svd_clip import SCHEDULER
from benchmarks.svd_clip import SMALL_VAE as VAE
from benchmarks.svd_step import SMALL_UNET
from benchmarks.training_scaling import read_log, run_trainer
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import any_of

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


TRAINERS = ("stable_animator", *easy_training_memory.VARIANTS)


def add_arguments(parser):
    parser.add_argument("--trainer", choices=TRAINERS, default=TRAINERS[0], metavar="NAME", help=", ".join(TRAINERS))
    parser.add_argument("--cases", nargs="+", metavar="WxHxL", help=f"default for StableAnimator: {' '.join(CASES)}")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="default: all that the trainer has")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="of each run (default 4)")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the benchmark itself")


def compete(options):
    is_easy = options.trainer != TRAINERS[0]
    known = easy_training_memory.VARIANTS[options.trainer] if is_easy else VARIANTS
    cases = options.cases or (easy_training_memory.CASES[options.trainer] if is_easy else CASES)
    variants = options.variants or list(known)
    _check(options, cases, variants, known)
    rows = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        folder = Path(folder)
        _write(folder, is_easy, options.small)
        for case in cases:
            for name in variants:
                if is_easy:
                    processes = 1
                    settings = easy_training_memory.settings_of(folder, options.trainer, case, name, options.steps)
                else:
                    processes, checkpointing = VARIANTS[name]
                    settings = _settings(folder, case, processes, checkpointing, options.steps)
                file = folder / f"{len(rows)}.yaml"
                file.write_text(yaml.safe_dump(settings))
                if "latent_cache" in settings:
                    easy_training_memory.keep_latents(file)
                given = {"file": str(file), "processes": processes, "trainer": options.trainer}
                module = "easy_training_memory" if is_easy else "training_memory"
                predicted = harness.run_contestant(module, "predict", given, title=f"{case} {name}: plan")
                printed = run_trainer(f"trainer_{options.trainer}", file, processes, f"{case} {name}")
                rows[f"{case} {name}"] = {**_read(printed, processes), **predicted}
    ratios = {name: row["predicted_bytes"] / row["peak_bytes"] for name, row in rows.items()}
    harness.print_table(rows, ratios, "predicted / peak")
    for name, row in rows.items():
        first = rows[f"{name.split()[0]} {variants[0]}"]
        row["speed"] = first["seconds"] / row["seconds"]
        print(f"{name}: {row['speed']:.2f} of the samples of a process")
    largest = max(rows, key=lambda name: rows[name]["peak_bytes"])
    ours = {key: rows[largest][key] for key in ("seconds", "peak_bytes")}
    return {**harness.result(ours, {}, cases=rows, settings={"steps": options.steps}), "ratios": ratios}


def _check(options, cases, variants, known):
    for case in cases:
        if not re.fullmatch(r"\d+x\d+x\d+", case):
            raise InputError(f"--cases {case} is no size; such as 128x128x8 (width, height, frames) is accepted")
    for name in variants:
        if name not in known:
            raise InputError(f"--variants {shown(name)} is not known; {any_of(known)} is accepted")
    if options.steps < 2:
        raise InputError(f"--steps {options.steps} is too few; 2 or more is accepted")


def _write(folder, is_easy, small):
    title = "nothing yet: writing weights and clips"
    if is_easy:
        easy_training_memory.prepare(folder, small)
    else:
        written = {"folder": str(folder), "unet": SMALL_UNET if small else MIDDLE}
        harness.run_contestant("training_memory", "write", written, title=title)


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
