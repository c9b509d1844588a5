"""Train a small text-to-video model, of the form of EasyAnimate V4, on captioned clips of drawn people.

    python -m scripts.train_demo_easy_animate

Draws the clips, trains text encoders on their captions, runs trainer_easy_animate_vae on frames and then on clips,
and, on kept latents, trainer_easy_animate and, for a style, trainer_easy_animate_lora with the files in
configs/training/easy_animate_demo, and puts together what predict_t2v loads, with a card that says how good it is.
Two processor cores take hours. With --skip-existing the same command goes on where it was stopped; --overwrite begins
anew.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.options import inherited, path_option

from .command import ArgumentParser, run
from .demo_training import (
    Clock,
    DemoTrainingOptions,
    draw,
    hold_against_existing,
    keep_latents,
    made_of,
    progress,
    read_settings,
    rows_of_trainings,
    set_up,
    train,
)

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.pipelines.easy_animate.demo import TextDemoEvaluation
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

SIDE, NUM_FRAMES = 64, 24  # of the clips; a sample is 16 frames of them
CLIPS, FEW_CLIPS = 3000, 16
PART_AT_NIGHT = 4  # one clip of so many is drawn at night as well
TEXT_STEPS, TEXT_BATCH = 1200, 32
PICTURES, VAE, TRANSFORMER, LORA = NAMES = ("vae_pictures", "vae", "transformer", "lora")
SCRIPTS = {
    PICTURES: "trainer_easy_animate_vae",
    VAE: "trainer_easy_animate_vae",
    TRANSFORMER: "trainer_easy_animate",
    LORA: "trainer_easy_animate_lora",
}
RESULTS = {
    PICTURES: "vae",
    VAE: "vae",
    TRANSFORMER: "transformer",
    LORA: "lora_diffusion_pytorch_model.safetensors",
}
MADE = ("data", "base", "latents", *NAMES, *(f"{name}.yaml" for name in NAMES), "logs", "times.json")
CONFIGURATIONS = Path("configs/training/easy_animate_demo")
CONFIGURED = "exp_output/easy_animate_demo"  # the folder that the files there name
SHIPPED = Path("configs/inference/easy_animate/demo.yaml")
STYLE = "night"
CARD = """# A small EasyAnimate V4 for drawn people

Makes videos of the cartoon figures of `ppdiffusers_ext/data/easy_animate/synthetic.py`, 16 frames of 64x64, from
prompts in English and Chinese such as

    a person in a red shirt waves on a blue background
    一个穿黄色上衣的人在绿色背景前跳跃

in {colors} colours and {motions} motions, and of nothing else: a person {phrases}.
Weights are fp16, Apache-2.0 as the project. Made by

    python -m scripts.train_demo_easy_animate --clips {clips} --seed {seed} --processes {processes}

which draws the clips ({drawing:.0f} minutes), trains the text encoders on their captions ({texts:.0f} minutes), and
trains the rest with the files in `configs/training/easy_animate_demo`:

| training | steps, of how many samples | minutes |
|---|---|---|
{rows}

`{style}.safetensors` is a LoRA of clips at night, for `--lora`.

## Quality

`python -m scripts.evaluate --demo-t2v --seed {evaluation_seed} --clips {evaluated}`: prompts of combinations of
shirt, background and motion that no training clip has; {steps} steps, guidance {guidance}. In how large a part of the
videos what is seen is what the prompt says:

| | shirt | background | motion | all three | at night | lightness |
|---|---|---|---|---|---|---|
{ways}

The classifier of motions, which knows nothing of prompts, names {accuracy:.1%} of other rendered clips rightly.

![four frames of videos of six prompts, without and with the LoRA](samples.png)
"""


@dataclass(frozen=True, kw_only=True)
class Options(DemoTrainingOptions):
    work: str = inherited(DemoTrainingOptions, "work", CONFIGURED)
    clips: int | None = inherited(DemoTrainingOptions, "clips", None, unset=f"{CLIPS}, with --quick {FEW_CLIPS}")
    output: str | None = path_option(
        None, help="new folder for the model", unset="model in the work folder", metavar="DIR"
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.train_demo_easy_animate", __doc__, Options)


def work(options: Options) -> None:
    """All steps that are not done yet."""
    from ppdiffusers_ext.data.outputs import output_folder

    options = set_up(options, CLIPS, FEW_CLIPS)
    folder = options.folder
    output = Path(options.output) if options.output else folder / "model"
    results = hold_against_existing(options, output, made_of("train_demo_easy_animate", options, CONFIGURATIONS), MADE)
    if not results.missing:
        print(f"kept {output}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with Clock(folder / "times.json", "clips"):
        draw_clips(options)
    if not (folder / "base").exists():
        with Clock(folder / "times.json", "texts"), output_folder(folder / "base") as temporary:
            write_base(temporary, options)
    for name in NAMES:
        if name == TRANSFORMER and not (folder / "base" / "vae").exists():
            with output_folder(folder / "base" / "vae") as temporary:
                shutil.copytree(trained_file(folder, VAE), temporary, dirs_exist_ok=True)
        if not trained_file(folder, name).exists():
            settings = read_training(name, options)
            with Clock(folder / "times.json", name):
                if "latent_cache" in settings:
                    keep_latents(name, settings, folder)
                train(SCRIPTS[name], name, settings, folder, options.processes)
    with results.recorded(), output_folder(output) as temporary:
        write_model(folder, temporary)
        (temporary / "README.md").write_text(make_card(options, temporary), encoding="utf-8")
    print((output / "README.md").read_text(encoding="utf-8") + f"wrote {output}")


def draw_clips(options: Options) -> None:
    """Draw all clips, some of them a second time at night, and write the records of all, of the day and of night."""
    from ppdiffusers_ext.data.easy_animate.synthetic import make_records, write_captioned_clips, write_json_records

    data, at_night = options.folder / "data", max(1, options.count // PART_AT_NIGHT)
    draw(write_captioned_clips, data / "day", options.seed, options.count, NUM_FRAMES, SIDE)
    draw(write_captioned_clips, data / STYLE, options.seed, at_night, NUM_FRAMES, SIDE, STYLE)
    day = make_records(data / "day", options.seed, options.count, SIDE)
    night = make_records(data / STYLE, options.seed, at_night, SIDE)
    # Those that are held out for validation are the last ones: of both kinds.
    for name, records in (("records", day), (STYLE, night), ("all", [*night[:-2], *day, *night[-2:]])):
        write_json_records(data / f"{name}.json", records)


def write_base(folder: Path, options: Options) -> None:
    """What the transformer's training starts from, without the autoencoder: weights of new networks, vocabularies."""
    import paddle

    from ppdiffusers_ext.data.easy_animate.synthetic import caption_sets
    from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
    from ppdiffusers_ext.packaged import located
    from ppdiffusers_ext.training.easy_animate.caption_encoders import train_caption_encoders, write_tokenizers
    from ppdiffusers_ext.weights.folders import read_config

    settings = read_config(located(CONFIGURATIONS / "transformer"))
    settings = {key: value for key, value in settings.items() if not key.startswith("_")}
    paddle.seed(options.seed)
    transformer = HunyuanTransformer3D(**settings)
    for name, parameter in transformer.named_parameters():
        # Blocks do not depend on the time at first, and the prediction is nothing.
        if name.startswith("proj_out.") or ".norm1.linear." in name:
            parameter.set_value(paddle.zeros_like(parameter))
    transformer.save_pretrained(str(folder / "transformer"), safe_serialization=True)
    shutil.copytree(located(CONFIGURATIONS / "scheduler"), folder / "scheduler")
    texts, alike = caption_sets()
    write_tokenizers(folder, [text for each in texts for text in each])
    matched = train_caption_encoders(
        folder,
        texts,
        alike,
        2 if options.quick else TEXT_STEPS,
        TEXT_BATCH,
        options.seed,
        lambda numbers: progress(numbers, "training the text encoders, steps"),
    )
    print(f"captions of the same scene that both text encoders hold for the nearest: {matched:.1%}")


def read_training(name: str, options: Options) -> dict[str, Any]:
    """The settings of a training."""
    settings = read_settings(CONFIGURATIONS / f"{name}.yaml", CONFIGURED, options.folder)
    if options.quick:
        settings.update(max_steps=2, validation_steps=2, save_steps=2, validation_clips=1)
        if name in (PICTURES, VAE):
            settings.update(video_size=32, video_len=min(settings["video_len"], 8), per_device_train_batch_size=1)
        else:
            sizes = dict.fromkeys(("video_sample_size", "image_sample_size", "token_sample_size"), 64)
            settings.update(**sizes, video_sample_n_frames=8, validation_inference_steps=1)
            settings.update(per_device_train_batch_size=1)
    return settings


def trained_file(folder: Path, name: str) -> Path:
    """What is there when a training is done."""
    return folder / name / RESULTS[name]


def write_model(source: Path, output: Path) -> None:
    """Put the trained parts together, in fp16, in a folder that is there."""
    from ppdiffusers_ext.pipelines.easy_animate.loading import describe_parts, read_components
    from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline

    config = describe_model(source / "base", transformer_path=str(weights_of(source)))
    parts = describe_parts(config)
    pipeline = EasyAnimatePipeline(**read_components(config, parts))
    for part in parts.values():
        part.load().to(dtype="float16")
    pipeline.save_pretrained(str(output))
    shutil.copy(trained_file(source, LORA), output / f"{STYLE}.safetensors")


def weights_of(source: Path) -> Path:
    """The file of the trained transformer."""
    from ppdiffusers_ext.weights.folders import find_weights

    return Path(find_weights(source / TRANSFORMER / "transformer"))


def describe_model(folder: Path, **options: Any) -> "EasyAnimateConfig":
    """The `EasyAnimateConfig` that ships, of the small model in a folder."""
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

    return EasyAnimateConfig.load(SHIPPED, model=str(folder), **options)


def make_card(options: Options, folder: Path) -> str:
    """The model card; writes samples.png and scores.json into the model's folder."""
    from ppdiffusers_ext.data.easy_animate.synthetic import CHINESE, PHRASES
    from ppdiffusers_ext.packaged import as_called
    from ppdiffusers_ext.pipelines.easy_animate.demo import COLUMNS, MODEL, TextDemoEvaluation, summary
    from ppdiffusers_ext.runtime import Runtime
    from ppdiffusers_ext.training.sheets import write_small_sheet

    quick = {"num_inference_steps": 1} if options.quick else {}
    count, seed, runtime = 1 if options.quick else 40, options.seed + 1, Runtime.choose("cpu", "fp32")
    styled = {"loras": [[str(folder / f"{STYLE}.safetensors"), 1.0]]}
    plain = TextDemoEvaluation(describe_model(folder, **quick), runtime)
    evaluations = [plain, TextDemoEvaluation(describe_model(folder, **quick, **styled), runtime, plain.classifier)]
    numbers = range(count)
    scores = [plain.scores(seed, number) for number in progress(numbers, "measuring on new prompts")]
    ways = summary(scores)
    at_night = [evaluations[1].scores(seed, number) for number in progress(numbers, "measuring the LoRA")]
    ways[f"model with {STYLE}.safetensors"] = summary(at_night)[MODEL]
    accuracy = plain.accuracy(seed, 12 if options.quick else 60)
    write_small_sheet(folder / "samples.png", _sheet(evaluations, seed, 1 if options.quick else 6))
    rows = [
        f"| {way} | " + " | ".join(f"{row[key]:.{digits}f}" for key, _, digits in COLUMNS) + " |"
        for way, row in ways.items()
    ]
    result = {"seed": seed, "classifier_accuracy": accuracy, "ways": ways, "scores": scores, "with_lora": at_night}
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (folder / "scores.json").write_text(text, encoding="utf-8")
    times = json.loads((options.folder / "times.json").read_text(encoding="utf-8"))
    config = describe_model(folder, **quick)
    return as_called(CARD).format(
        colors=len(CHINESE),
        motions=len(PHRASES),
        phrases=", ".join(english[0] for english, _ in PHRASES.values()),
        clips=options.count,
        seed=options.seed,
        processes=options.processes,
        drawing=times["clips"] / 60,
        texts=times["texts"] / 60,
        rows=rows_of_trainings(options.folder, NAMES),
        style=STYLE,
        evaluation_seed=seed,
        evaluated=count,
        steps=config.num_inference_steps,
        guidance=config.guidance_scale,
        ways="\n".join(rows),
        accuracy=accuracy,
    )


def _sheet(evaluations: "list[TextDemoEvaluation]", seed: int, count: int) -> "np.ndarray":
    """A row for each prompt: four frames of the model's video, and four of that with the LoRA."""
    import numpy as np

    from ppdiffusers_ext.data.easy_animate.synthetic import synthetic_scene
    from ppdiffusers_ext.training.sheets import labelled_sheet

    rows = []
    for number in range(count):
        scene, prompt = synthetic_scene((seed, number), held_out=True)
        cells = []
        for kind, evaluation in zip(("model", STYLE), evaluations):
            frames = evaluation.make(prompt, (seed, number))
            chosen = np.linspace(0, len(frames) - 1, 4).astype(int)
            cells += [(f"{kind} {index}", frames[index]) for index in chosen]
        rows.append((", ".join(vars(scene).values()), cells))
    return labelled_sheet(f"prompts of seed {seed}; numbers are frames", rows, scale=1)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
