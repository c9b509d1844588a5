"""Train the small model that is shipped in assets/demo_model: autoencoder, stage 1, stage 2, on drawn people.

    python -m scripts.train_demo

Draws the clips, then runs trainer_vae, trainer_stage1 and trainer_stage2 with the files in
configs/training/demo, and puts together what pose2vid loads, with a card that says how good it is and a contact sheet.
Two processor cores take about four hours. With --skip-existing the same command goes on where it was stopped;
--overwrite begins anew.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.options import inherited, path_option

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
    from PIL import Image

    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.pipelines.animate_anyone.demo import DemoEvaluation
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

CLIPS, FEW_CLIPS = 1400, 8
QUICK_SIDE = 64
STAGES = (  # script, configuration, what is there when it is done
    ("trainer_vae", "vae", "vae/vae"),
    ("trainer_stage1", "stage1", "stage1/denoising_unet.safetensors"),
    ("trainer_stage2", "stage2", "stage2/motion_module.safetensors"),
)
NAMES = tuple(name for _, name, _ in STAGES)
MADE = ("data", "latents", "image_encoder", *NAMES, *(f"{name}.yaml" for name in NAMES), "logs", "times.json")
CONFIGURATIONS = Path("configs/training/demo")
INFERENCE, NETWORKS = "configs/inference/demo.yaml", "configs/inference/demo_model.yaml"
CONFIGURED = "exp_output/demo"  # the folder that the files in configs/training/demo name
CARD = """# A small Animate Anyone for drawn people

Animates the {figures} figures of `ppdiffusers_ext/data/synthetic.py` at {side}x{side}, and nothing else. It shows that
training works, and runs on any machine. Weights are fp16, Apache-2.0 as the project. Made by

    python -m scripts.train_demo --clips {clips} --seed {seed} --processes {processes}

which draws the clips ({drawing:.0f} minutes) and trains with the files in `configs/training/demo`:

| training | steps, of how many samples | minutes |
|---|---|---|
{rows}

The image encoder keeps its random weights.

## Quality

`python -m scripts.evaluate --demo --seed {evaluation_seed} --clips {evaluated}`: people and motions that it was not
trained on, {frames} frames each, {steps} steps, guidance {cfg}. No animation can be nearer to the truth than what the
autoencoder makes of the true frames.

| | PSNR dB | SSIM | L1 | flicker |
|---|---|---|---|---|
{ways}

{above:.2f} dB above the better of the last two; flicker {below:.0f}% below that of stage 1 per frame.

![reference, then pose, truth and model, of three frames](samples.png)
"""
SHEET_CLIPS = 6


@dataclass(frozen=True, kw_only=True)
class Options(DemoTrainingOptions):
    work: str = inherited(DemoTrainingOptions, "work", CONFIGURED)
    clips: int | None = inherited(DemoTrainingOptions, "clips", None, unset=f"{CLIPS}, with --quick {FEW_CLIPS}")
    output: str | None = path_option(
        None, help="new folder for the model", unset="model in the work folder", metavar="DIR"
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.train_demo", __doc__, Options)


def work(options: Options) -> None:
    """All steps that are not done yet."""
    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.data.outputs import output_folder
    from ppdiffusers_ext.data.synthetic import write_clips

    options = set_up(options, CLIPS, FEW_CLIPS)
    output = Path(options.output) if options.output else options.folder / "model"
    results = hold_against_existing(
        options, output, made_of("train_demo", options, CONFIGURATIONS, Path(NETWORKS)), MADE
    )
    if not results.missing:
        print(f"kept {output}")
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    drawing = Drawing.read(CONFIGURATIONS)
    with Clock(options.folder / "times.json", "clips"):
        draw(write_clips, options.folder / "data", options.seed, options.count, **drawing.arguments)
    write_image_encoder(options.folder / "image_encoder", options.seed, channels=32)
    for script, name, result in STAGES:
        if not (options.folder / result).exists():
            with Clock(options.folder / "times.json", name):
                train(script, name, read_stage(name, options), options.folder, options.processes)
    with results.recorded(), output_folder(output) as temporary:
        write_model(options.folder, temporary, drawing)
        (temporary / "README.md").write_text(make_card(options, temporary), encoding="utf-8")
    print(f"wrote {output}")


def read_stage(name: str, options: Options) -> dict[str, Any]:
    """The settings of a stage's training."""
    settings = read_settings(CONFIGURATIONS / f"{name}.yaml", CONFIGURED, options.folder)
    if options.quick:
        settings.update(max_steps=2, validation_steps=2, save_steps=2, validation_clips=1)
        settings.update({"validation_inference_steps": 1} if "validation_inference_steps" in settings else {})
        settings.update(train_width=QUICK_SIDE, train_height=QUICK_SIDE, n_sample_frames=4)
    return settings


def write_model(source: Path, output: Path, drawing: "Drawing") -> None:
    """Put the trained parts together, in fp16, in a folder that is there.

    drawing: of the clips that they were trained on.
    """
    from ppdiffusers_ext.pipelines.animate_anyone.loading import describe_parts, make_configured_scheduler
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline

    config = Pose2VidConfig(
        pretrained_base_model_path=str(CONFIGURATIONS),
        pretrained_vae_path=str(source / "vae" / "vae"),
        image_encoder_path=str(source / "image_encoder"),
        denoising_unet_path=str(source / "stage1" / "denoising_unet.safetensors"),
        motion_module_path=str(source / "stage2" / "motion_module.safetensors"),
        reference_unet_path=str(source / "stage1" / "reference_unet.safetensors"),
        pose_guider_path=str(source / "stage1" / "pose_guider.safetensors"),
        inference_config=NETWORKS,
    )
    folders = {"reference_unet": "unet"}  # as Stable Diffusion's base model has it
    parts = describe_parts(config)
    models = {name: part.model for name, part in parts.items()}
    pipeline = Pose2VideoPipeline(**models, scheduler=make_configured_scheduler(config))
    pipeline.save_config(str(output))
    pipeline.scheduler.save_pretrained(str(output / "scheduler"))
    for name, part in parts.items():
        model = part.load()
        model.to(dtype="float16")
        model.save_pretrained(str(output / folders.get(name, name)), safe_serialization=True)
    _mean_frame(source / "data" / "video", drawing.side).save(output / "mean_frame.png")
    drawing.write(output)


def _mean_frame(folder: Path, side: int) -> "Image.Image":
    """The mean of every fourth training frame, which the evaluation compares with: a picture."""
    import numpy as np
    from PIL import Image

    from ppdiffusers_ext.data.video import read_frames

    total: Any = 0
    count = 0
    for path in progress(sorted(folder.glob("*.mp4")), "reading clips for their mean frame"):
        for frame in read_frames(path, stride=4):
            total, count = total + frame.astype(np.int64), count + 1
    return Image.fromarray(np.round(total / count).astype(np.uint8)).resize((side, side), Image.Resampling.BOX)


def make_card(options: Options, folder: Path) -> str:
    """The model card: what was trained, how long, and what it reaches on clips that it has not seen."""
    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.packaged import as_called
    from ppdiffusers_ext.pipelines.animate_anyone.demo import DemoEvaluation, summary
    from ppdiffusers_ext.runtime import Runtime
    from ppdiffusers_ext.training.sheets import write_small_sheet

    drawing, config = Drawing.read(folder), describe_model(folder)
    config = replace(config, num_inference_steps=1) if options.quick else config
    evaluation = DemoEvaluation(config, Runtime.choose("cpu", "fp32"))
    seed, clips = options.seed + 1, 1 if options.quick else 20
    result = summary([evaluation.scores(seed, number) for number in progress(range(clips), "measuring on new clips")])
    times = json.loads((options.folder / "times.json").read_text(encoding="utf-8"))
    ways = [
        f"| {way} | {score['psnr']:.2f} | {score['ssim']:.3f} | {score['l1']:.4f} | {score['flicker']:.2f} |"
        for way, score in result["ways"].items()
    ]
    write_small_sheet(folder / "samples.png", _sheet(evaluation, seed, 1 if options.quick else SHEET_CLIPS))
    return as_called(CARD).format(
        figures=drawing.figures,
        side=drawing.side,
        frames=drawing.num_frames,
        clips=options.count,
        seed=options.seed,
        processes=options.processes,
        drawing=times["clips"] / 60,
        rows=rows_of_trainings(options.folder, NAMES),
        ways="\n".join(ways),
        evaluated=clips,
        evaluation_seed=seed,
        above=result["psnr_above_baseline"],
        below=100 * result["flicker_below_stage_1"],
        steps=config.num_inference_steps,
        cfg=config.guidance_scale,
    )


def describe_model(folder: Path) -> "Pose2VidConfig":
    """The `Pose2VidConfig` of the small model in a folder: the shipped model's, with this folder's files and size."""
    from ppdiffusers_ext.data.drawings import Drawing
    from ppdiffusers_ext.files import read_yaml
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

    values, side = read_yaml(INFERENCE), Drawing.read(folder).side
    files = moved(values, values["pretrained_base_model_path"], folder)
    return Pose2VidConfig.load(INFERENCE, **files, width=side, height=side)


def _sheet(evaluation: "DemoEvaluation", seed: int, count: int) -> "np.ndarray":
    """A row for each clip: reference, then pose, truth and model of three frames."""
    from ppdiffusers_ext.pipelines.animate_anyone.demo import MODEL, REPEATED
    from ppdiffusers_ext.training.sheets import labelled_sheet

    rows = []
    for number in progress(range(count), "animating clips for samples.png"):
        truth, poses, ways = evaluation.clip(seed, number)
        kinds = {"pose": poses, "truth": truth, "model": ways[MODEL]}
        rows.append(sheet_row(f"clip {number + 1}", ways[REPEATED][0], kinds))
    return labelled_sheet(f"clips of seed {seed}; numbers are frames", rows)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
