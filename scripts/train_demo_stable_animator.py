"""Train a small StableAnimator on drawn people, and a recogniser of their faces to measure it with.

    python -m scripts.train_demo_stable_animator

Draws the clips, trains an autoencoder and the recogniser, runs trainer_stable_animator, all with the files in
configs/training/stable_animator_demo, and puts together what scripts.stable_animator loads, with a card that says how
good it is. Two processor cores take about three hours. With --skip-existing the same command goes on where it was
stopped; --overwrite begins anew.
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
    moved,
    progress,
    read_settings,
    rows_of_trainings,
    set_up,
    sheet_row,
    train,
    write_image_encoder,
)

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.pipelines.stable_animator.demo import StableDemoEvaluation
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig

CLIPS, FEW_CLIPS = 1600, 16
AUTOENCODER_CLIPS = 400  # of these, drawn once more as videos, which its trainer reads
RECOGNIZER, JUDGE = "recognizer.safetensors", "judge.safetensors"  # the one that is used, and the one that measures
TRAININGS = ("vae", "training")
SETTINGS = tuple(f"{name}.yaml" for name in TRAININGS)
MADE = ("data", "pictures", "svd", RECOGNIZER, JUDGE, *TRAININGS, *SETTINGS, "logs", "times.json")
CONFIGURATIONS = Path("configs/training/stable_animator_demo")
CONFIGURED = "exp_output/stable_animator_demo"  # the folder that the files there name
RECOGNIZER_STEPS, RECOGNIZER_BATCH = 500, 32
CARD = """# A small StableAnimator for drawn people

Animates the {figures} figures of `ppdiffusers_ext/data/synthetic.py` at {side}x{side}, and nothing else. Weights are
fp16, Apache-2.0 as the project. Made by

    python -m scripts.train_demo_stable_animator --clips {clips} --seed {seed} --processes {processes}

which draws the clips ({drawing:.0f} minutes) and trains with the files in `configs/training/stable_animator_demo`:

| training | steps, of how many samples | minutes |
|---|---|---|
{rows}
| two recognisers of heads | {recognizer_steps} of {recognizer_batch} | {recognizing:.0f} |

The autoencoder's layers over time do nothing. The image encoder keeps its random weights. A face's embedding is the
true identity vector of the person in training, and what the recogniser makes of the reference below.

## Quality

People and motions that it was not trained on (`--seed` {evaluation_seed}): {evaluated} clips of {frames} frames,
{steps} steps, guidance {guidance}, windows of {tile} frames. Identity is the mean cosine between what another
recogniser, which has seen none of these people and is not used otherwise, makes of the heads and who they are.

| | PSNR dB | SSIM | L1 | flicker | identity |
|---|---|---|---|---|---|
{ways}

{above:.2f} dB above the reference repeated; without the face's embedding, identity changes by {without:+.3f}, with
faces that are optimised (`--optimize-face`) by {optimised:+.3f}.

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
    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.data.outputs import output_folder
    from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
    from ppdiffusers_ext.data.synthetic import write_clips
    from ppdiffusers_ext.packaged import located

    options = set_up(options, CLIPS, FEW_CLIPS)
    folder, output = options.folder, options.folder / "model"
    made = made_of("train_demo_stable_animator", options, CONFIGURATIONS)
    results = hold_against_existing(options, output, made, MADE)
    if not results.missing:
        print(f"kept {output}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    times, svd, clips = folder / "times.json", folder / "svd", folder / "data" / "clips"
    drawing = Drawing.read(CONFIGURATIONS)
    with Clock(times, "clips"):
        draw(write_animation_clips, clips, options.seed, options.count, **drawing.arguments)
        count = min(AUTOENCODER_CLIPS, options.count)
        draw(write_clips, folder / "pictures", options.seed, count, **drawing.arguments)
    write_image_encoder(svd / "image_encoder", options.seed, channels=64)  # as the UNet's context has
    for name in ("unet", "scheduler"):
        shutil.copytree(located(CONFIGURATIONS / name), svd / name, dirs_exist_ok=True)
    if not (folder / "vae" / "vae").exists():
        with Clock(times, "vae"):
            _train("trainer_vae", "vae", options)
    if not (svd / "vae").exists():
        with output_folder(svd / "vae") as temporary:
            _write_autoencoder(folder / "vae" / "vae", clips, temporary)
    for name, seed in ((RECOGNIZER, options.seed), (JUDGE, options.seed + 1)):
        if not (folder / name).exists():
            with Clock(times, "recognizer"):
                _train_recognizer(clips, folder / name, seed, options)
    if not (folder / "training" / "unet.safetensors").exists():
        with Clock(times, "training"):
            _train("trainer_stable_animator", "training", options)
    with results.recorded(), output_folder(output) as temporary:
        _write_model(folder, temporary, drawing)
        (temporary / "README.md").write_text(_evaluate(options, temporary), encoding="utf-8")
    print((output / "README.md").read_text(encoding="utf-8") + f"wrote {output}")


def _write_autoencoder(vae: Path, clips: Path, folder: Path) -> None:
    import numpy as np
    import paddle

    from ppdiffusers_ext.data.stable_animator.clips import Frames, find_animation_clips
    from ppdiffusers_ext.pipelines.loading import describe_vae
    from ppdiffusers_ext.training.stable_animator.video_autoencoder import to_video_vae

    frames = [Frames(clip.images) for clip in find_animation_clips(clips)[:32]]
    pictures = [each.read([len(each) // 2])[0] for each in frames]
    pixels = np.stack([np.asarray(picture, np.float32) for picture in pictures]).transpose(0, 3, 1, 2) / 127.5 - 1
    video_vae = to_video_vae(describe_vae(vae).load(), paddle.to_tensor(pixels))
    video_vae.save_pretrained(str(folder), safe_serialization=True)


def _train(script: str, name: str, options: Options) -> None:
    settings = read_settings(CONFIGURATIONS / f"{name}.yaml", CONFIGURED, options.folder)
    if options.quick:
        few = {"max_steps": 2, "validation_steps": 2, "save_steps": 2, "validation_clips": 1, "sample_n_frames": 2}
        few |= {"validation_inference_steps": 1, "per_device_train_batch_size": 1}
        settings |= {name: value for name, value in few.items() if name in settings}
    train(script, name, settings, options.folder, options.processes)


def _train_recognizer(clips: Path, path: Path, seed: int, options: Options) -> None:
    from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
    from ppdiffusers_ext.training.stable_animator.recognizer import train_recognizer

    steps = 2 if options.quick else RECOGNIZER_STEPS
    cosine = train_recognizer(
        find_animation_clips(clips),
        path,
        steps,
        RECOGNIZER_BATCH,
        seed,
        lambda numbers: progress(numbers, "training the recogniser of heads, steps"),
    )
    print(f"the recogniser's cosine with the truth, of people that it is trained on: {cosine:.3f}")


def _write_model(folder: Path, output: Path, drawing: "Drawing") -> None:
    """Put the trained parts together, in fp16, in a folder that is there."""
    from ppdiffusers_ext.pipelines.run_options import write_trained

    names = ("unet", "pose_net", "face_encoder")
    shutil.copytree(folder / "svd", output / "svd")
    for path in (output / "svd").rglob("*.safetensors"):
        _write_halved(path, path)
    for name in names:
        _write_halved(folder / "training" / f"{name}.safetensors", output / f"{name}.safetensors")
    _write_halved(folder / RECOGNIZER, output / RECOGNIZER)
    write_trained(output, {"svd": "svd", **{name: f"{name}.safetensors" for name in names}})
    drawing.write(output)


def _write_halved(source: Path, target: Path) -> None:
    """Write a file of weights in fp16."""
    import numpy as np

    from ppdiffusers_ext.weights import load_tensors
    from ppdiffusers_ext.weights.arrays import to_array
    from ppdiffusers_ext.weights.writing import write_safetensors

    arrays = {name: to_array(tensor) for name, tensor in load_tensors(source).items()}
    halved = {name: array.astype(np.float16) if array.dtype == np.float32 else array for name, array in arrays.items()}
    write_safetensors(target, halved, {"format": "pd"})


def describe_model(folder: Path, **options: Any) -> "StableAnimationConfig":
    """The `StableAnimationConfig` of the small model in a folder: the shipped one, with its files and size."""
    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.files import read_yaml
    from ppdiffusers_ext.pipelines.stable_animator.options import DEMO, StableAnimationConfig

    values, side = read_yaml(DEMO), Drawing.read(folder).side
    files = moved(values, str(Path(values["svd"]).parent), folder)
    return StableAnimationConfig.load(DEMO, **{"device": "cpu", **files, "width": side, "height": side, **options})


def _evaluate(options: Options, folder: Path) -> str:
    """Write samples.png and scores.json into the model's folder, and return its card."""
    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.packaged import as_called
    from ppdiffusers_ext.pipelines.stable_animator.demo import IDENTITY, StableDemoEvaluation, summary
    from ppdiffusers_ext.runtime import Runtime
    from ppdiffusers_ext.training.sheets import write_small_sheet

    config = describe_model(folder, **({"num_inference_steps": 1} if options.quick else {}))
    drawing = Drawing.read(folder)
    count, frames = (1, 4) if options.quick else (20, drawing.num_frames)
    seed, runtime = options.seed + 1, Runtime.choose("cpu", "fp32")
    judge = options.folder / JUDGE
    evaluation = StableDemoEvaluation(config, drawing, folder / RECOGNIZER, judge, runtime, frames)
    numbers = progress(range(count), "measuring on new clips")
    scores = [evaluation.scores(seed, number, options.windows) for number in numbers]
    result = summary(scores)
    (folder / "scores.json").write_text(json.dumps({**result, "scores": scores}, indent=1) + "\n", encoding="utf-8")
    write_small_sheet(folder / "samples.png", _sheet(evaluation, seed, 1 if options.quick else 6))
    rows = []
    for way, score in result["ways"].items():
        cells = [("psnr", ".2f"), ("ssim", ".3f"), ("l1", ".4f"), ("flicker", ".2f"), (IDENTITY, ".3f")]
        rows.append(f"| {way} | " + " | ".join(f"{score[k]:{f}}" if k in score else "" for k, f in cells) + " |")
    times = json.loads((options.folder / "times.json").read_text(encoding="utf-8"))
    return as_called(CARD).format(
        figures=drawing.figures,
        side=drawing.side,
        clips=options.count,
        seed=options.seed,
        processes=options.processes,
        drawing=times["clips"] / 60,
        rows=rows_of_trainings(options.folder, TRAININGS),
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
        optimised=result["identity_optimised"],
    )


def _sheet(evaluation: "StableDemoEvaluation", seed: int, count: int) -> "np.ndarray":
    """A row for each clip: reference, then pose, truth, model and model without the face of three frames."""
    from ppdiffusers_ext.pipelines.stable_animator.demo import MODEL, WITHOUT_FACE
    from ppdiffusers_ext.training.sheets import labelled_sheet

    rows = []
    for number in progress(range(count), "animating clips for samples.png"):
        clip, ways = evaluation.clip(seed, number)
        kinds = {"pose": clip.pose, "truth": clip.target, "model": ways[MODEL], "without face": ways[WITHOUT_FACE]}
        rows.append(sheet_row(f"clip {number + 1}", clip.reference, kinds))
    return labelled_sheet(f"clips of seed {seed}; numbers are frames", rows)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
