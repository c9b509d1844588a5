"""Mistakes in the trainers' options and files are told before Paddle is imported, in the words of the library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import declaration
from ppdiffusers_ext.training.animate_anyone.autoencoder import train_autoencoder
from ppdiffusers_ext.training.animate_anyone.run import train
from ppdiffusers_ext.training.arguments import parse_arguments
from ppdiffusers_ext.training.bounds import fields_of
from ppdiffusers_ext.training.stable_animator import run as stable_run
from scripts.training import kinds_of

ROOT = Path(__file__).parents[2]
STAGES = (1, 2, "vae", "stable_animator")
OWN_HINT = "scripts/download_weights.py --system animate_anyone"
DEMO = "assets/demo_model"
# What a training needs; a mistake comes after it.
ANYONE = {
    "base_model_path": DEMO,
    "vae_model_path": f"{DEMO}/vae",
    "image_encoder_path": f"{DEMO}/image_encoder",
    "inference_config_path": "configs/inference/demo_model.yaml",
}
CLIPS = {"meta_paths": "{dir}/clips", "do_train": "true", "output_dir": "{dir}/out", "device": "cpu"}
NEEDED = {
    1: {**ANYONE, **CLIPS},
    2: {**ANYONE, **CLIPS},
    "vae": CLIPS,
    "stable_animator": {
        "pretrained_model_name_or_path": "{dir}/svd",
        "data_path": "{dir}/faces.txt",
        "output_dir": "{dir}/out",
        "device": "cpu",
    },
}
CONFIGS = {
    "{dir}/nowhere.yaml": "{dir}/nowhere.yaml does not exist",
    "{dir}/nowhere.json": "{dir}/nowhere.json does not exist",
    "{dir}/broken.yaml": "broken.yaml",
    "{dir}/unknown.yaml": "unknown keys in {dir}/unknown.yaml: widht",
    "{dir}/seed.yaml": "--seed -2 is too small; -1 to",
    "{dir}/list.json": "holds list; keys and values are needed",
    "{dir}/optim.yaml": "optim in {dir}/optim.yaml is ['a']; one value is accepted",
    "{dir}/steps.json": "--max_steps: 'ten' is not a whole number",
    "{dir}": "is neither an option nor the value of one",
}
# Options that are wrong -> what is told of them.
VALUES = {
    ("--device=tpu",): "auto, cpu, gpu or gpu:N is accepted",
    ("--report_to", "nobody"): "--report_to 'nobody' is not known",
    ("--report_to", "wandb"): "needs a package that is not installed",
    ("--sharding=stage1",): "nothing to share among one process",
    ("--fp16", "--bf16"): "one of them is accepted",
    ("--do_eval",): "no use in this training",
    ("--tensor_parallel_degree=2",): "no use in this training",
    ("--output_dir=/dev/null/out",): "is a file",
    ("--resume_from_checkpoint={dir}/nowhere",): "cannot be used: it has no manifest.json",
    ("--resume_from_checkpoint={dir}/clips",): "cannot be used: it has no manifest.json",
    ("--do_train=false",): "--do_train is accepted",
    ("--max_step=3",): "did you mean --max_steps?",
    ("stray",): "neither an option nor the value",
    ("--",): "there is no option '--'",
}
VALUES_OF_CLIPS = {
    ("--train_width=70",): "a multiple of 8 from 64",
    ("--crop_scale_min=0.9", "--crop_scale_max=0.5"): "no bounds of a random crop",
    ("--validation_steps=1", "--validation_clips=2"): "--validation_clips 2 of 2 leaves none",
    ("--meta_paths={dir}/nowhere.json",): "training data {dir}/nowhere.json do not exist",
    ("--meta_paths={dir}/list.json",): "list.json",
    ("--meta_paths={dir}/broken.json",): "broken.json",
    ("--meta_paths={dir}/empty",): "hold no clips",
    ("--meta_paths=",): "no training data are named",
    ("--vae_model_path={dir}/nowhere",): OWN_HINT,
    ("--vae_model_path={dir}/nowhere", "--meta_paths={dir}/nowhere"): "moreover, training data {dir}/nowhere",
}
VALUES_OF_STAGES = {
    ("--base_model_path={dir}/nowhere", "--pose_guider_path={dir}/no.pth"): "{dir}/no.pth do not exist; `python",
    ("--base_model_path={dir}/empty",): "unet",
    ("--base_model_path=",): "--base_model_path is empty; the name of a file or a folder is accepted",
    ("--vae_model_path={dir}/empty",): "there are no weights in {dir}/empty",
    ("--image_encoder_path={dir}/empty",): "there are no weights in {dir}/empty",
    ("--inference_config_path={dir}/no.yaml",): "{dir}/no.yaml does not exist",
    ("--inference_config_path={dir}/broken.yaml",): "broken.yaml",
    ("--denoising_unet_config_path={dir}/list.json",): "a JSON object is needed",
    ("--denoising_unet_base_model_path={dir}/no.pth",): OWN_HINT,
    ("--reference_unet_path={dir}/no.pth",): OWN_HINT,
}
VALUES_OF_SYSTEM = {
    1: {**VALUES_OF_CLIPS, **VALUES_OF_STAGES, ("--motion_module_path=a.ckpt",): "is for stage 2"},
    2: {**VALUES_OF_CLIPS, **VALUES_OF_STAGES, ("--motion_module_path={dir}/no.ckpt",): OWN_HINT},
    "vae": {**VALUES_OF_CLIPS, ("--vae_config_path={dir}/no.json",): "{dir}/no.json does not exist"},
    "stable_animator": {
        ("--pretrained_model_name_or_path={dir}/nowhere",): "download_weights.py --system stable_animator",
        ("--pretrained_model_name_or_path={dir}/empty",): "empty/unet",
        ("--pretrained_model_name_or_path={dir}/half",): "there are no weights in {dir}/half/vae",
        ("--unet_model_path={dir}/no.pth",): "{dir}/no.pth does not exist",
        ("--posenet_model_finetune_path={dir}/no.pth", "--face_encoder_finetune_path={dir}/n.pth"): "{dir}/n.pth do",
        ("--unet_model_finetune_path={dir}/no.pth", "--data_path={dir}/no.txt"): "moreover, training data",
        ("--data_path={dir}/nowhere.txt",): "nowhere.txt do not exist",
        ("--data_path={dir}/clips.txt", "--faces_path={dir}/nobody"): "--only antelopev2",
        ("--data_path={dir}/empty",): "is a clip",
        ("--rec_data_path=a.txt",): "one of these ways is accepted",
        ("--data_path=", "--data_sets=a.txt:512"): "such as list.txt:512x512:1",
        ("--vec_share=1",): "--vec_share 1.0 is no part",
        ("--dataset_width=100",): "multiples of 64",
        ("--validation_image=a.png",): "belong together",
        (
            *("--validation_steps=1", "--validation_clips=1", "--validation_image={dir}/no.png"),
            "--validation_control_folder={dir}/no.mp4",
        ): "{dir}/no.png, --validation_control_folder {dir}/no.mp4 do not exist",
        ("--validation_steps=1",): "--validation_clips 4 of 2 in",
        ("--finetune_mode",): "--finetune_mode lacks",
        ("--noise_d_low=65",): "are no bounds",
        ("--mixed_precision=fp8",): "'fp8' is not known",
        ("--max_train_steps=0",): "--max_steps 0 is too small",
        ("--checkpointing_step=5",): "did you mean --checkpointing_steps?",
        ("--no_do_trian",): "did you mean",
    },
}


def wrong_values(stage):
    """Wrong values of every option that has bounds, choices or a type, or names a file: words, and what is told."""
    for name, item in fields_of(kinds_of(stage)).items():
        declared, values, told = declaration(item), [], f"--{name}"
        if declared.lower is not None:
            values += [declared.lower - 1, 10**60, "nan"]
        if declared.choices:
            values += ["foo"]
        if item.type in (int, float, bool, int | None):
            values += ["x", ""]
        if declared.is_path and not name.startswith("validation_"):
            values, told = ["a/" * 3000, "a" * 300, "a\0", "/dev/null", "{dir}/pipe"], ""
        yield from (((f"--{name}={value}",), told) for value in values)


def cases(stage):
    """Words after those that are needed, and what is told of them."""
    return [*VALUES.items(), *VALUES_OF_SYSTEM[stage].items(), *wrong_values(stage)]


def needed(stage):
    return [f"--{name}={value}" for name, value in NEEDED[stage].items()]


def lines_of(stage, folder):
    """[stage, arguments] of each case, and what is told of each."""
    calls = [([*needed(stage), *words], told) for words, told in cases(stage)]
    calls += [([config, *needed(stage)], told) for config, told in CONFIGS.items()]
    return [[[word.replace("{dir}", str(folder)) for word in words], told] for words, told in calls]


def write_files(folder):
    clip = synthetic_clip(0, 4, 64, 64)
    for number in range(2):
        for kind, frames in (("video", clip.target), ("video_dwpose", clip.pose)):
            (folder / "clips" / kind).mkdir(parents=True, exist_ok=True)
            with VideoWriter(folder / "clips" / kind / f"{number}.mp4", clip.fps, 64, 64) as writer:
                writer.write(frames)
        for place in ("faces", "plain"):
            (folder / place / str(number)).mkdir(parents=True)
            for kind, other in (("video", "images"), ("video_dwpose", "poses")):
                (folder / place / str(number) / f"{other}.mp4").symlink_to(folder / "clips" / kind / f"{number}.mp4")
    files = {
        "faces.txt": "faces/0\nfaces/1\n",
        "faces/0/face.npy": "",
        "faces/1/face.npy": "",
        "clips.txt": "plain/0\nplain/1\n",
        "broken.yaml": "a: [1",
        "broken.json": "[{",
        "list.json": "[1, 2]",
        "unknown.yaml": "widht: 3",
        "seed.yaml": "seed: -2",
        "optim.yaml": yaml.safe_dump({"optim": ["a"]}),
        "steps.json": '{"max_steps": "ten"}',
    }
    for svd in ("svd", "half"):
        files |= {f"{svd}/{name}/config.json": "{}" for name in ("unet", "vae", "image_encoder")}
    files |= {f"svd/{name}/model.safetensors": "" for name in ("unet", "vae", "image_encoder")}
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def run_without_paddle(calls):
    """[exit code, standard error] of each [stage, arguments]."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.without_paddle"],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before paddle")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def answers(folder):
    """stage -> [words, what is to be told, exit code, standard error] of each of its cases."""
    lines = [(stage, *line) for stage in STAGES for line in lines_of(stage, folder)]
    before = sorted(folder.rglob("*"))
    results = run_without_paddle([[stage, words] for stage, words, _ in lines])
    assert sorted(folder.rglob("*")) == before
    return {
        stage: [(*line[1:], *result) for line, result in zip(lines, results, strict=True) if line[0] == stage]
        for stage in STAGES
    }


@pytest.mark.parametrize("stage", STAGES)
def test_mistakes_are_told_without_paddle(answers, folder, stage):
    assert len(answers[stage]) > 150
    for words, told, code, error in answers[stage]:
        assert code == 2, (words, error)
        (line,) = error.splitlines()
        assert line.startswith("error: ") and told.replace("{dir}", str(folder)) in line, (words, told, line)


def say(stage, words):
    """What the library says of options, with Paddle."""
    with pytest.raises(InputError) as caught:
        model, data, training = parse_arguments(words, kinds_of(stage))
        if not training.do_train:
            raise InputError("nothing is to be done; --do_train is accepted")  # which the command says
        if stage == "vae":
            train_autoencoder(model, data, training)
        elif stage == "stable_animator":
            stable_run.train(model, data, training)
        else:
            train(stage, model, data, training)
    return str(caught.value)


@pytest.mark.parametrize("stage", STAGES)
def test_the_library_tells_the_same(answers, stage, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words, _, _, error in answers[stage]:
        assert error == f"error: {say(stage, words)}\n"


def test_what_is_not_wrong_would_import_paddle(folder):
    """So that the cases above prove something: the process does refuse, and what they begin with is not wrong."""
    calls = [[stage, [word.replace("{dir}", str(folder)) for word in needed(stage)]] for stage in STAGES]
    for (code, error), call in zip(run_without_paddle(calls), calls):
        assert code is None and "was imported" in error, (call, error)
