"""Train a small StableAnimator on drawn people, and a recogniser of their faces to measure it with.

    python -m scripts.train_demo_stable_animator

Draws the clips, trains the recogniser, runs trainer_stable_animator with the files in
configs/training/stable_animator_demo, and puts together what scripts.stable_animator loads, with a card that says how
good it is. The autoencoder, which stays frozen, is that of assets/demo_model (`make train-demo` trains it). Two
processor cores take less than two hours. With --skip-existing the same command goes on where it was stopped;
--overwrite begins anew.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.options import inherited, option

from .command import ArgumentParser, run
from .demo_training import (
    Clock,
    DemoTrainingOptions,
    draw,
    hold_against_existing,
    made_of,
    progress,
    read_settings,
    rows_of_trainings,
    set_up,
    train,
    write_image_encoder,
)

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.pipelines.stable_animator.demo import StableDemoEvaluation
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig

SIDE, NUM_FRAMES, ENTRANCE = 64, 24, 12
CLIPS, FEW_CLIPS = 1600, 16
MADE = ("data", "svd", "recognizer.safetensors", "training", "training.yaml", "logs", "times.json")
CONFIGURATIONS = Path("configs/training/stable_animator_demo")
CONFIGURED = "exp_output/stable_animator_demo"  # the folder that the files there name
AUTOENCODER = Path("assets/demo_model/vae")
RECOGNIZER_STEPS, RECOGNIZER_BATCH = 500, 32
CARD = """# A small StableAnimator for drawn people

Animates the cartoon figures of `ppdiffusers_ext/data/synthetic.py` at 64x64, and nothing else. Made by

    python -m scripts.train_demo_stable_animator --clips {clips} --seed {seed} --processes {processes}

which draws the clips ({drawing:.0f} minutes) and trains with the files in `configs/training/stable_animator_demo`:

| training | steps, of how many samples | minutes |
|---|---|---|
{rows}
| recogniser of heads | {recognizer_steps} of {recognizer_batch} | {recognizing:.0f} |

The autoencoder is that of `assets/demo_model`, trained before this, with layers over time that do nothing. The image
encoder keeps its random weights. A face's embedding is the true identity vector of the person.

## Quality

People and motions that it was not trained on (`--seed` {evaluation_seed}): {evaluated} clips of {frames} frames,
{steps} steps, guidance {guidance}, windows of {tile} frames. Identity is the mean cosine between what the recogniser,
which has seen none of these people, makes of the heads and who they are.

| | PSNR dB | SSIM | L1 | flicker | identity |
|---|---|---|---|---|---|
{ways}

{above:.2f} dB above the reference repeated; without the face's embedding, identity changes by {without:+.3f}.

![reference, then pose, truth, model and model without the face, of three frames](samples.png)
"""


@dataclass(frozen=True, kw_only=True)
class Options(DemoTrainingOptions):
    work: str = inherited(DemoTrainingOptions, "work", CONFIGURED)
    clips: int | None = inherited(DemoTrainingOptions, "clips", None, unset=f"{CLIPS}, with --quick {FEW_CLIPS}")
    windows: bool = option(False, help="also compare ways to make windows and noise")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.train_demo_stable_animator", __doc__, Options)


def work(options: Options) -> None:
    """All steps that are not done yet."""
    from ppdiffusers_ext.data.outputs import output_folder
    from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
    from ppdiffusers_ext.packaged import located

    options = set_up(options, CLIPS, FEW_CLIPS)
    folder, output = options.folder, options.folder / "model"
    made = made_of("train_demo_stable_animator", options, CONFIGURATIONS, AUTOENCODER)
    results = hold_against_existing(options, output, made, MADE)
    if not results.missing:
        print(f"kept {output}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    times, svd, clips = folder / "times.json", folder / "svd", folder / "data" / "clips"
    with Clock(times, "clips"):
        draw(write_animation_clips, clips, options.seed, options.count, NUM_FRAMES, SIDE, ENTRANCE)
    write_image_encoder(svd / "image_encoder", options.seed, channels=64)  # as the UNet's context has
    for name in ("unet", "scheduler"):
        shutil.copytree(located(CONFIGURATIONS / name), svd / name, dirs_exist_ok=True)
    if not (svd / "vae").exists():
        with output_folder(svd / "vae") as temporary:
            _write_autoencoder(clips, temporary)
    if not (folder / "recognizer.safetensors").exists():
        with Clock(times, "recognizer"):
            _train_recognizer(clips, options)
    if not (folder / "training" / "unet.safetensors").exists():
        with Clock(times, "training"):
            _train("trainer_stable_animator", "training", options)
    with results.recorded(), output_folder(output) as temporary:
        _write_model(folder, temporary)
        (temporary / "README.md").write_text(_evaluate(options, temporary), encoding="utf-8")
    print((output / "README.md").read_text(encoding="utf-8") + f"wrote {output}")


def _write_autoencoder(clips: Path, folder: Path) -> None:
    import numpy as np
    import paddle

    from ppdiffusers_ext.data.stable_animator.clips import Frames, find_animation_clips
    from ppdiffusers_ext.pipelines.loading import describe_vae
    from ppdiffusers_ext.training.stable_animator.video_autoencoder import to_video_vae

    pictures = [Frames(clip.images).read([NUM_FRAMES // 2])[0] for clip in find_animation_clips(clips)[:32]]
    pixels = np.stack([np.asarray(picture, np.float32) for picture in pictures]).transpose(0, 3, 1, 2) / 127.5 - 1
    vae = to_video_vae(describe_vae(AUTOENCODER).load(), paddle.to_tensor(pixels))
    vae.save_pretrained(str(folder), safe_serialization=True)


def _train(script: str, name: str, options: Options) -> None:
    settings = read_settings(CONFIGURATIONS / f"{name}.yaml", CONFIGURED, options.folder)
    if options.quick:
        settings.update(max_steps=2, validation_steps=2, save_steps=2, validation_clips=1, sample_n_frames=2)
        settings.update(validation_inference_steps=1, per_device_train_batch_size=1)
    train(script, name, settings, options.folder, options.processes)


def _train_recognizer(clips: Path, options: Options) -> None:
    from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
    from ppdiffusers_ext.training.stable_animator.recognizer import train_recognizer

    steps = 2 if options.quick else RECOGNIZER_STEPS
    path = options.folder / "recognizer.safetensors"
    cosine = train_recognizer(
        find_animation_clips(clips),
        path,
        steps,
        RECOGNIZER_BATCH,
        options.seed,
        lambda numbers: progress(numbers, "training the recogniser of heads, steps"),
    )
    print(f"the recogniser's cosine with the truth, of people that it is trained on: {cosine:.3f}")


def _write_model(folder: Path, output: Path) -> None:
    from ppdiffusers_ext.pipelines.run_options import write_trained

    shutil.copytree(folder / "svd", output / "svd")
    for name in ("unet", "pose_net", "face_encoder"):
        shutil.copy(folder / "training" / f"{name}.safetensors", output)
    shutil.copy(folder / "recognizer.safetensors", output)
    names = ("unet", "pose_net", "face_encoder")
    write_trained(output, {"svd": "svd", **{name: f"{name}.safetensors" for name in names}})


def describe_model(folder: Path, **options: Any) -> "StableAnimationConfig":
    """The `StableAnimationConfig` of the small model in a folder.

    Windows are of as many frames in a row as it was trained on, and each frame has noise of its own, as in training.
    Steps are few, because so small a network leaves noise at each: on other clips than the card's (six of seed 99) 3
    steps came to 20.1 dB, 1 to 20.0, 5 to 19.2 and 15 to 17.9.
    """
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig

    weights = {name: str(folder / f"{name}.safetensors") for name in ("unet", "pose_net", "face_encoder")}
    sizes = {"width": SIDE, "height": SIDE, "context_frames": 4, "context_overlap": 1}
    ways = {"num_inference_steps": 3, "guidance_scale": 1.0, "anchored": False, "repeats_noise": False}
    return StableAnimationConfig(
        **{"device": "cpu", "svd": str(folder / "svd"), **weights, **sizes, **ways, **options}
    )


def _evaluate(options: Options, folder: Path) -> str:
    """Write samples.png and scores.json into the model's folder, and return its card."""
    from ppdiffusers_ext.data.images import write_image
    from ppdiffusers_ext.packaged import as_called
    from ppdiffusers_ext.pipelines.stable_animator.demo import IDENTITY, StableDemoEvaluation, summary
    from ppdiffusers_ext.runtime import Runtime

    config = describe_model(folder, **({"num_inference_steps": 1} if options.quick else {}))
    count, frames = (1, 4) if options.quick else (20, NUM_FRAMES)
    seed, runtime = options.seed + 1, Runtime.choose("cpu", "fp32")
    evaluation = StableDemoEvaluation(config, folder / "recognizer.safetensors", runtime, frames)
    numbers = progress(range(count), "measuring on new clips")
    scores = [evaluation.scores(seed, number, options.windows) for number in numbers]
    result = summary(scores)
    (folder / "scores.json").write_text(json.dumps({**result, "scores": scores}, indent=1) + "\n", encoding="utf-8")
    write_image(folder / "samples.png", _sheet(evaluation, seed, 1 if options.quick else 6))
    rows = []
    for way, score in result["ways"].items():
        cells = [("psnr", ".2f"), ("ssim", ".3f"), ("l1", ".4f"), ("flicker", ".2f"), (IDENTITY, ".3f")]
        rows.append(f"| {way} | " + " | ".join(f"{score[k]:{f}}" if k in score else "" for k, f in cells) + " |")
    times = json.loads((options.folder / "times.json").read_text(encoding="utf-8"))
    return as_called(CARD).format(
        clips=options.count,
        seed=options.seed,
        processes=options.processes,
        drawing=times["clips"] / 60,
        rows=rows_of_trainings(options.folder, ["training"]),
        recognizer_steps=2 if options.quick else RECOGNIZER_STEPS,
        recognizer_batch=RECOGNIZER_BATCH,
        recognizing=times["recognizer"] / 60,
        evaluation_seed=seed,
        evaluated=count,
        frames=frames,
        steps=config.num_inference_steps,
        guidance=config.guidance_scale,
        tile=config.context_frames,
        ways="\n".join(rows),
        above=result["psnr_above_reference"],
        without=result["identity_without_face"],
    )


def _sheet(evaluation: "StableDemoEvaluation", seed: int, count: int) -> "np.ndarray":
    """A row for each clip: reference, then pose, truth, model and model without the face of three frames."""
    import numpy as np

    from ppdiffusers_ext.pipelines.stable_animator.demo import MODEL, WITHOUT_FACE
    from ppdiffusers_ext.training.sheets import labelled_sheet

    rows = []
    for number in progress(range(count), "animating clips for samples.png"):
        clip, ways = evaluation.clip(seed, number)
        chosen = np.linspace(0, len(clip.target) - 1, 3).astype(int)
        kinds = {"pose": clip.pose, "truth": clip.target, "model": ways[MODEL], "without face": ways[WITHOUT_FACE]}
        cells = [(f"{kind} {frame}", frames[frame]) for frame in chosen for kind, frames in kinds.items()]
        rows.append((f"clip {number + 1}", [("reference", clip.reference), *cells]))
    return labelled_sheet(f"clips of seed {seed}; numbers are frames", rows, scale=2)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
