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
from ppdiffusers_ext.training.arguments import parse_arguments
from ppdiffusers_ext.training.bounds import fields_of
from ppdiffusers_ext.training.trainers import TRAINERS
from scripts.training import kinds_of

ROOT = Path(__file__).parents[2]
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
EASY = {
    "pretrained_model_name_or_path": "{dir}/easy",
    "train_data_meta": "{dir}/captions.json",
    "output_dir": "{dir}/out",
    "device": "cpu",
}
NEEDED = {
    "stage1": {**ANYONE, **CLIPS},
    "stage2": {**ANYONE, **CLIPS},
    "vae": CLIPS,
    "stable_animator": {
        "pretrained_model_name_or_path": "{dir}/svd",
        "data_path": "{dir}/faces.txt",
        "output_dir": "{dir}/out",
        "device": "cpu",
    },
    "easy_animate": EASY,
    "easy_animate_lora": EASY,
    "easy_animate_vae": {
        "do_train": "true",
        "vae_config_path": "{dir}/magvit.json",
        "data_json_path": "{dir}/captioned.json",
        "perceptual": "none",
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


def refused(trainer):
    """Options of the original that a trainer does not take, and the beginning of what is told of each."""
    return {(f"--{name}",): f"--{name} " for kind in TRAINERS[trainer].kinds for name in kind.REFUSED}


VALUES_OF_EASY = {
    ("--pretrained_model_name_or_path={dir}/nowhere",): "download_weights.py --system easy_animate",
    ("--pretrained_model_name_or_path={dir}/empty",): "empty/transformer",
    ("--pretrained_model_name_or_path={dir}/easy_half",): "there are no weights in {dir}/easy_half/vae",
    ("--pretrained_model_name_or_path={dir}/easy_mute",): "there is no tokenizer in {dir}/easy_mute/tokenizer_2",
    ("--transformer_path={dir}/no.pth", "--vae_path={dir}/n.pth"): "{dir}/n.pth do",
    ("--motion_module_path={dir}/no.pth",): "{dir}/no.pth does not exist",
    ("--config_path={dir}/broken.yaml",): "broken.yaml",
    ("--train_data_meta=",): "--train_data_meta is missing",
    ("--train_data_meta={dir}/no.json",): "no.json",
    ("--train_data_meta={dir}/list.json",): "list.json",
    ("--train_data_meta={dir}/absent.json",): "absent.mp4",
    ("--train_data_meta={dir}/mute.json",): "nothing is learnt from texts",
    ("--train_data_meta={dir}/absent.json", "--vae_path={dir}/n.pth"): "moreover, 1 of the 1 file of meta file",
    ("--train_data_dir={dir}/nowhere",): "nowhere",
    ("--train_data_meta={dir}/bad.json", "--enable_bucket"): "2 of 3 clips cannot be used, which is more than",
    ("--pretrained_model_name_or_path={dir}/easy_slices", "--enable_bucket"): "8 are needed; scripts.check_dataset",
    ("--video_repeat=0",): "--video_repeat 0 leaves out the 2 videos",
    ("--train_mode=inpaint",): "--train_mode inpaint is for a transformer of 12 channels",
    ("--snr_loss",): "--snr_loss is of V1 to V3",
    ("--loss_type=sigma",): "--loss_type sigma is not that of the transformer",
    ("--pretrained_model_name_or_path={dir}/easy_v2", "--not_sigma_loss"): "--not_sigma_loss is of V4",
    ("--pretrained_model_name_or_path={dir}/easy_v2", "--loss_type=ddpm"): "--loss_type ddpm is not that",
    ("--loss_type=flow",): "'flow' is not known; sigma or ddpm is accepted",
    ("--video_sample_size=100",): "--video_sample_size 100 cannot be trained on; a multiple of 16",
    ("--training_with_video_token_length", "--image_sample_size=256"): "sizes from --video_sample_size 512",
    ("--validation_steps=1", "--validation_clips=2"): "--validation_clips 2 of 2 in",
    ("--validation_steps=1", "--validation_clips=0"): "--validation_clips of 1 or more",
    ("--mixed_precision=fp8",): "'fp8' is not known",
    ("--max_train_steps=0",): "--max_steps 0 is too small",
    ("--num_train_epochs=-1",): "--num_train_epochs -1.0 is too small",
    ("--noise_offset=0.1",): "--noise_offset has no effect in the original and is not known here; leave it out",
    ("--use_8bit_adam", "--max_step=3"): "--use_8bit_adam needs a library that Paddle has not; --use_came takes less",
    ("--use_came", "--optim=adamw_mini"): "--use_came and --optim adamw_mini are both given",
    ("--use_came", "--bf16", "--fp16_opt_level=O2"): "--fp16_opt_level O1 is accepted",
    ("--use_came", "--offload_optim"): "--use_came without it is accepted",
    ("--use_came", "--sharding_parallel_config=split_param"): "--use_came needs whole matrices",
    ("--sample_n_frames=8",): "--sample_n_frames is --video_sample_n_frames here",
    ("--w_min=5",): "--w_min is of the training of LCM-LoRA",
}
VALUES_OF_SYSTEM = {
    "stage1": {**VALUES_OF_CLIPS, **VALUES_OF_STAGES, ("--motion_module_path=a.ckpt",): "is for stage 2"},
    "stage2": {**VALUES_OF_CLIPS, **VALUES_OF_STAGES, ("--motion_module_path={dir}/no.ckpt",): OWN_HINT},
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
    "easy_animate": {
        ("--rank=4",): "--rank is of a training of LoRA; scripts/trainer_easy_animate_lora.py",
        **VALUES_OF_EASY,
        **refused("easy_animate"),
        ("--trainable_modules", "blocks", ""): "--trainable_modules has an empty text",
    },
    "easy_animate_lora": {
        **VALUES_OF_EASY,
        **refused("easy_animate_lora"),
        ("--trainable_modules", "."): "--trainable_modules is of a training of all weights",
        ("--lora_target_modules", "attn1.", " "): "--lora_target_modules has an empty text",
        ("--transformer_path=none",): "--transformer_path none is for training all weights",
        ("--motion_module_path=none",): "--motion_module_path none is for training all weights",
        ("--train_text_encoder", "--latent_cache={dir}/empty"): "--train_text_encoder cannot learn from",
        ("--rank=0",): "--rank 0 is too small; 1 to 4096 is accepted",
        ("--rank=4.5",): "--rank: '4.5' is not a whole number",
        ("--network_alpha=0",): "--network_alpha 0.0 is too small",
        ("--network_alpha=nan",): "is not a finite number",
        ("--network_alpha=-64",): "--network_alpha -64.0 is too small",
    },
    "easy_animate_vae": {
        ("--vae_config_path={dir}/no.json",): "--vae_config_path {dir}/no.json does not exist",
        ("--vae_config_path={dir}/list.json",): "a JSON object is needed",
        ("--vae_config_path=assets/demo_model/vae",): "AutoencoderKLMagvit is accepted",
        ("--ckpt_path={dir}/nowhere",): "download_weights.py --system easy_animate",
        ("--ckpt_path={dir}/empty",): "there are no weights in {dir}/empty",
        ("--vae_path={dir}/nowhere", "--data_json_path={dir}/n.json"): "moreover, ",
        ("--data_json_path={dir}/nowhere.json",): "{dir}/nowhere.json does not exist",
        ("--data_json_path={dir}/broken.json",): "broken.json",
        ("--data_json_path={dir}/no_file.json",): "does not exist",
        ("--train_data_meta={dir}/list.json",): "list.json",
        ("--data_root={dir}/nowhere",): "{dir}/nowhere does not exist",
        ("--perceptual={dir}/nowhere",): "--only LPIPS --only LPIPS-vgg16",
        ("--perceptual={dir}/empty",): "vgg16-397923af.pth",
        ("--perceptual={dir}/nowhere", "--ckpt_path={dir}/no.pth"): "moreover, ",
        ("--train_decoder_only", "--train_encoder_only"): "one of them is accepted",
        ("--l1_loss_weight=0",): "one above 0 is accepted",
        ("--min_crop_f=0",): "are no bounds of a square",
        ("--video_size=100",): "a multiple of 8 from 32",
        ("--disc_loss=wgan",): "'wgan' is not known",
        ("--validation_steps=1", "--validation_clips=2"): "--validation_clips 2 of 2 in {dir}/captioned.json",
        ("--kl_wieght=1",): "did you mean --kl_weight?",
    },
}


def wrong_values(trainer):
    """Wrong values of every option that has bounds, choices or a type, or names a file: words, and what is told."""
    for name, item in fields_of(kinds_of(trainer)).items():
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


def cases(trainer):
    """Words after those that are needed, and what is told of them."""
    return [*VALUES.items(), *VALUES_OF_SYSTEM[trainer].items(), *wrong_values(trainer)]


def needed(trainer):
    return [f"--{name}={value}" for name, value in NEEDED[trainer].items()]


def lines_of(trainer, folder):
    """[trainer, arguments] of each case, and what is told of each."""
    calls = [([*needed(trainer), *words], told) for words, told in cases(trainer)]
    calls += [([config, *needed(trainer)], told) for config, told in CONFIGS.items()]
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
        "captions.json": json.dumps([{"file_path": f"clips/video/{i}.mp4", "text": "a person"} for i in range(2)]),
        "absent.json": json.dumps([{"file_path": "absent.mp4", "text": "a person"}]),
        "mute.json": json.dumps([{"file_path": "clips/video/0.mp4", "text": " "}]),
        "bad.json": json.dumps([{"file_path": name, "text": "a person"} for name in ("a.mp4", "b.png", "c.mp4")]),
        **{"a.mp4": "no video", "b.png": ""},
        "broken.yaml": "a: [1",
        "broken.json": "[{",
        "list.json": "[1, 2]",
        "magvit.json": '{"_class_name": "AutoencoderKLMagvit"}',
        "captioned.json": '[{"file_path": "clips/video/0.mp4"}, {"file_path": "clips/video/1.mp4"}]',
        "no_file.json": '[{"file_path": "clips/video/9.mp4"}]',
        "unknown.yaml": "widht: 3",
        "seed.yaml": "seed: -2",
        "optim.yaml": yaml.safe_dump({"optim": ["a"]}),
        "steps.json": '{"max_steps": "ten"}',
    }
    for easy in ("easy", "easy_half", "easy_mute", "easy_v2", "easy_slices"):
        files |= {f"{easy}/{name}/model.safetensors": "" for name in ("transformer", "text_encoder", "text_encoder_2")}
        files |= {f"{easy}/{name}/config.json": "{}" for name in ("vae", "text_encoder", "text_encoder_2")}
        name = "Transformer3DModel" if easy == "easy_v2" else "HunyuanTransformer3DModel"
        files[f"{easy}/transformer/config.json"] = json.dumps({"_class_name": name, "in_channels": 4})
        files |= {f"{easy}/tokenizer/vocab.txt": "", f"{easy}/scheduler/scheduler_config.json": "{}"}
        files |= {} if easy == "easy_half" else {f"{easy}/vae/model.safetensors": ""}
        files |= {} if easy == "easy_mute" else {f"{easy}/tokenizer_2/spiece.model": ""}
    files["easy_slices/vae/config.json"] = json.dumps({"_class_name": "AutoencoderKLMagvit", "mini_batch_encoder": 8})
    for svd in ("svd", "half"):
        files |= {f"{svd}/{name}/config.json": "{}" for name in ("unet", "vae", "image_encoder")}
    files |= {f"svd/{name}/model.safetensors": "" for name in ("unet", "vae", "image_encoder")}
    (folder / "empty").mkdir()
    (folder / "c.mp4").symlink_to(folder / "clips" / "video" / "0.mp4")
    os.mkfifo(folder / "pipe")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def run_without_paddle(calls):
    """[exit code, standard error] of each [trainer, arguments]."""
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
    """trainer -> [words, what is to be told, exit code, standard error] of each of its cases."""
    lines = [(trainer, *line) for trainer in TRAINERS for line in lines_of(trainer, folder)]
    before = sorted(folder.rglob("*"))
    results = run_without_paddle([[trainer, words] for trainer, words, _ in lines])
    assert sorted(folder.rglob("*")) == before
    return {
        trainer: [(*line[1:], *result) for line, result in zip(lines, results, strict=True) if line[0] == trainer]
        for trainer in TRAINERS
    }


@pytest.mark.parametrize("trainer", TRAINERS)
def test_mistakes_are_told_without_paddle(answers, folder, trainer):
    assert len(answers[trainer]) > 150
    for words, told, code, error in answers[trainer]:
        assert code == 2, (words, error)
        (line,) = error.splitlines()
        assert line.startswith("error: ") and told.replace("{dir}", str(folder)) in line, (words, told, line)


def test_mistakes_of_cache_latents_are_told_without_paddle(folder):
    cases = [(("--latent_cache={dir}/latents", *words), told) for words, told in VALUES_OF_EASY.items()]
    cases += [((), "--latent_cache is missing"), (("--latent_cache={dir}/list.json",), "list.json is no folder")]
    words = [[*needed("easy_animate"), *words] for words, _ in cases]
    calls = [["cache_latents", [word.replace("{dir}", str(folder)) for word in each]] for each in words]
    before = sorted(folder.rglob("*"))
    for (code, error), (words, told) in zip(run_without_paddle(calls), cases, strict=True):
        assert code == 2 and error.startswith("error: ") and told.replace("{dir}", str(folder)) in error, (
            words,
            error,
        )
    assert sorted(folder.rglob("*")) == before


def say(trainer, words):
    """What the library says of options, with Paddle."""
    with pytest.raises(InputError) as caught:
        model, data, training = parse_arguments(words, kinds_of(trainer))
        if not training.do_train:
            raise InputError("nothing is to be done; --do_train is accepted")  # which the command says
        found = TRAINERS[trainer].check(model, data, training)
        TRAINERS[trainer].run(model, data, training, found)
    return str(caught.value)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_library_tells_the_same(answers, trainer, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words, _, _, error in answers[trainer]:
        assert error == f"error: {say(trainer, words)}\n"


def test_what_is_not_wrong_would_import_paddle(folder):
    """So that the cases above prove something: the process does refuse, and what they begin with is not wrong."""
    calls = [[trainer, [word.replace("{dir}", str(folder)) for word in needed(trainer)]] for trainer in TRAINERS]
    for (code, error), call in zip(run_without_paddle(calls), calls):
        assert code is None and "was imported" in error, (call, error)
