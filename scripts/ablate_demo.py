"""What the quality of the small model depends on: short trainings, each with one thing changed, as a table.

    python -m scripts.ablate_demo
    python -m scripts.ablate_demo --row min_snr

Goes on from the work folder of scripts.train_demo, whose clips, autoencoder and first stage it needs. Each row is a
training of its own, in WORK/ablation/ROW, with the files in configs/training/demo and the options that the row
changes; what is finished is not trained again. WORK/ablation/table.md has the numbers of the last validation of all
rows that are finished, of clips that are held out, and what linear codes of the pictures reach.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ppdiffusers_ext.options import inherited, option, path_option

from .command import ArgumentParser, run
from .demo_training import DemoTrainingOptions, read_settings, train
from .options import CommandOptions
from .train_demo import CONFIGURATIONS, CONFIGURED, STAGES

VAE, STAGE_1, STAGE_2 = (name for _, name, _ in STAGES)
STEPS = {VAE: 1500, STAGE_1: 800, STAGE_2: 120}  # of a row, with --steps 1
NUMBERS = ("psnr", "ssim", "l1", "flicker", "loss")
BLACK, NO_JOINTS = "black.json", "no_joints.json"  # meta files of the clips with less than they have
LINEAR_CLIPS = 120  # at most, whose frames a linear code is made and measured with


@dataclass(frozen=True)
class Row:
    """A training of the table.

    Attributes:
        stage: whose configuration it has.
        what: words for what is changed.
        changes: options of the trainer.
        network: options of the autoencoder's configuration, as multiples of what they are.
        steps: as a multiple of those of other rows.
    """

    stage: str
    what: str
    changes: Mapping[str, Any]
    network: Mapping[str, float] | None = None
    steps: int = 1


ROWS = {
    "vae": Row(VAE, "autoencoder", {}),
    "vae_narrow": Row(VAE, "half the widths", {}, {"up_block_out_channels": 0.5, "down_block_out_channels": 0.5}),
    "vae_few_latents": Row(VAE, "half the latent channels", {}, {"latent_channels": 0.5}),
    "vae_many_latents": Row(VAE, "twice the latent channels", {}, {"latent_channels": 2}),
    "vae_colours": Row(VAE, "colours weigh twice as much as brightness", {"colour_weight": 2.0}),
    "stage1": Row(STAGE_1, "stage 1", {}),
    "stage1_long": Row(STAGE_1, "twice the steps", {}, steps=2),
    "min_snr": Row(STAGE_1, "Min-SNR with gamma 5", {"snr_gamma": 5.0}),
    "not_led": Row(STAGE_1, "attention to the reference is not led", {"place_weight": 0.0}),
    "no_joints": Row(STAGE_1, "it is led to each token's own place, as without joints", {"meta_paths": NO_JOINTS}),
    "any_reference": Row(STAGE_1, "any frame of the clip as its reference", {"reference_frames": 0}),
    "velocity": Row(STAGE_1, "velocities instead of clean latents", {"prediction_type": "v_prediction"}),
    "no_ema": Row(STAGE_1, "no average of the weights", {"ema_decay": 0.0}),
    "no_reference": Row(STAGE_1, "no reference features", {"uncond_ratio": 1.0}),
    "no_poses": Row(STAGE_1, "no poses", {"meta_paths": BLACK}),
    "stage2": Row(STAGE_2, "stage 2, 8 frames", {}),
    "stage2_short": Row(STAGE_2, "4 frames, twice the samples", {"n_sample_frames": 4}),
    "stage2_long": Row(STAGE_2, "16 frames, half the samples", {"n_sample_frames": 16}),
}


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions):
    work: str = path_option(CONFIGURED, help="folder that scripts.train_demo has worked in", metavar="DIR")
    row: str | None = option(None, choices=tuple(ROWS), help="the only row to train", unset="all")
    steps: float = option(1.0, 0.001, 100.0, help="multiple of the usual number of steps")
    processes: int = inherited(DemoTrainingOptions, "processes", 2)


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.ablate_demo", __doc__, Options)


def work(options: Options) -> None:
    """Train what is not trained yet, and write the table."""
    from ppdiffusers_ext.files import check_all_there

    folder = Path(options.work)
    names = list(ROWS) if options.row is None else [options.row]
    needed = {"data", "image_encoder"} if any(ROWS[name].stage != VAE for name in names) else {"data"}
    needed |= {result for _, stage, result in STAGES for name in names if _is_before(stage, ROWS[name].stage)}
    check_all_there(
        [("what the small model is trained with,", folder / name) for name in sorted(needed)],
        "a --work in which scripts.train_demo has finished this is accepted",
    )
    for name in names:
        output = folder / "ablation" / name
        settings = settings_of(name, options)
        if not _is_finished(output, settings["max_steps"]):
            output.mkdir(parents=True, exist_ok=True)
            script = next(script for script, stage, _ in STAGES if stage == ROWS[name].stage)
            train(script, name, settings, folder / "ablation", options.processes)
    text = table(folder / "ablation") + linear_table(folder)
    (folder / "ablation" / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")


def _is_before(stage: str, other: str) -> bool:
    order = [name for _, name, _ in STAGES]
    return order.index(stage) < order.index(other)


def settings_of(name: str, options: Options) -> dict[str, Any]:
    """The settings of a row's training; writes what files they need beyond those of the work folder."""
    row, folder = ROWS[name], Path(options.work)
    settings = read_settings(CONFIGURATIONS / f"{row.stage}.yaml", CONFIGURED, folder)
    steps = max(2, round(STEPS[row.stage] * row.steps * options.steps))
    batch = settings["per_device_train_batch_size"]
    if frames := row.changes.get("n_sample_frames"):  # as many frames in a step
        batch = max(1, batch * settings["n_sample_frames"] // frames)
    output = folder / "ablation" / name
    settings |= {**row.changes, "output_dir": str(output), "max_steps": steps, "validation_steps": steps}
    settings |= {"save_steps": max(1, steps // 4), "warmup_steps": steps // 20, "per_device_train_batch_size": batch}
    if "place_steps" in settings:
        settings["place_steps"] = steps // 2 or 1
    if row.network is not None:
        settings["vae_config_path"] = str(_write_network(output, settings["vae_config_path"], row.network))
    if settings["meta_paths"] in (BLACK, NO_JOINTS):
        settings["meta_paths"] = str(_write_meta(folder, settings["meta_paths"]))
    return settings


def _write_network(folder: Path, path: str, factors: Mapping[str, float]) -> Path:
    """A configuration of an autoencoder whose numbers of these names are multiplied."""
    from ppdiffusers_ext.files import read_json
    from ppdiffusers_ext.packaged import located

    values = read_json(located(path), "configuration", "that of an autoencoder is needed")
    for name, factor in factors.items():
        given = values.get(name, values["block_out_channels"] if name.endswith("out_channels") else None)
        is_list = isinstance(given, list)
        values[name] = [round(factor * number) for number in given] if is_list else round(factor * given)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return folder / "network.json"


def _write_meta(folder: Path, name: str) -> Path:
    """A meta file of the clips, which names no joints; `BLACK` has a black video in the place of their poses."""
    import numpy as np

    from ppdiffusers_ext.data.animate_anyone.clips import find_clips
    from ppdiffusers_ext.data.video import probe_video
    from ppdiffusers_ext.data.video_writer import VideoWriter

    clips, target = find_clips(folder / "data"), (folder / "ablation").resolve()
    info, black = probe_video(clips[0].video), target / "black.mp4"
    if name == BLACK and not black.exists():
        with VideoWriter(black, Fraction(info.fps), info.width, info.height) as writer:
            writer.write(np.zeros((info.num_frames, info.height, info.width, 3), np.uint8))
    poses = [black if name == BLACK else clip.pose.resolve() for clip in clips]
    rows = [{"video_path": str(clip.video.resolve()), "kps_path": str(pose)} for clip, pose in zip(clips, poses)]
    (target / name).write_text(json.dumps(rows) + "\n", encoding="utf-8")
    return target / name


def _numbers(output: Path) -> dict[str, list[list[float]]]:
    """The curves of a training's validations: name -> list of (step, value); none without them."""
    path = output / "validation.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _is_finished(output: Path, steps: int) -> bool:
    return any(step == steps for points in _numbers(output).values() for step, _ in points)


def table(folder: Path) -> str:
    """The rows whose trainings are in a folder, in Markdown.

    Losses of other weights (Min-SNR) do not compare; without reference features or poses the loss is the number to
    look at, for validation makes videos with what was not trained.
    """
    lines = ["| row | changed | steps | " + " | ".join(NUMBERS) + " |", "|---" * (3 + len(NUMBERS)) + "|"]
    for name, row in ROWS.items():
        curves = _numbers(folder / name)
        if curves:
            last = max(step for points in curves.values() for step, _ in points)
            values = [f"{curves[number][-1][1]:.4g}" if curves.get(number) else "" for number in NUMBERS]
            lines.append(f"| `{name}` | {row.what} | {last} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def linear_table(folder: Path) -> str:
    """What linear codes of the clips' patches reach, in Markdown: what an autoencoder's PSNR is to be held against."""
    import numpy as np

    from ppdiffusers_ext.data.animate_anyone.clips import find_clips
    from ppdiffusers_ext.data.random_access import FrameReader
    from ppdiffusers_ext.files import read_json
    from ppdiffusers_ext.metrics.linear_codes import linear_psnr
    from ppdiffusers_ext.packaged import located

    network = read_settings(CONFIGURATIONS / f"{VAE}.yaml", CONFIGURED, folder)["vae_config_path"]
    config = read_json(located(network), "configuration", "that of an autoencoder is needed")
    side, channels = 2 ** (len(config["block_out_channels"]) - 1), config["latent_channels"]
    clips = find_clips(folder / "data")
    readers = [FrameReader(clip.video) for clip in clips[:: -(-len(clips) // LINEAR_CLIPS)]]
    frames = np.concatenate([reader.read(sorted({0, len(reader) - 1})) for reader in readers])
    known = max(1, 3 * len(frames) // 4)
    counts = [channels // 2, channels, 2 * channels]
    reached = linear_psnr(frames[:known], frames[known:], side, counts)
    lines = ["", f"| numbers of {side}x{side} pixels | PSNR of a linear code |", "|---|---|"]
    lines += [f"| {count} | {decibel:.2f} |" for count, decibel in zip(counts, reached)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
