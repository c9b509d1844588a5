"""What a training of EasyAnimate will take: what makes it more or less, by the released networks' size."""

import contextlib
import dataclasses
import json

import paddle
import pytest
from paddle.base import core

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
from ppdiffusers_ext.training.easy_animate.autoencoder_memory import _Activations, plan_vae
from ppdiffusers_ext.training.easy_animate.autoencoder_model import VideoVae
from ppdiffusers_ext.training.easy_animate.autoencoder_options import VideoVaeArguments, VideoVaeDataArguments
from ppdiffusers_ext.training.easy_animate.lora import LoraModel, make_lora
from ppdiffusers_ext.training.easy_animate.lora_options import EasyLoraArguments
from ppdiffusers_ext.training.easy_animate.memory import _activations, _Lora, _sizes, plan_file, plan_training
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel
from ppdiffusers_ext.training.easy_animate.options import EasyDataArguments, EasyTransformerArguments
from ppdiffusers_ext.training.memory_plan import TrainingOptions, count
from ppdiffusers_ext.training.parser import read_options
from ppdiffusers_ext.training.trainers import PLANNED, TRAINERS
from scripts import plan_memory
from scripts.command import run
from tests.scripts.test_trainer_easy_animate_vae import CONFIG
from tests.scripts.test_trainers import ROOT
from tests.support.easy_folders import write_easy

GB = 1e9
CONFIGS = ROOT / "configs" / "training" / "easy_animate"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Function of a training's options that gives the peak in GB, of a large transformer."""
    folder = tmp_path_factory.mktemp("easy") / "v4"
    write_easy(folder, "v4")
    path = folder / "transformer" / "config.json"
    large = {"num_attention_heads": 16, "attention_head_dim": 88, "hidden_size": 1408, "num_layers": 40}
    large["cross_attention_dim"] = 64
    path.write_text(json.dumps(json.loads(path.read_text()) | large))

    def planned(device="gpu", side=512, frames=48, modules=None, low_vram=False, **options):
        model = EasyTransformerArguments(
            pretrained_model_name_or_path=str(folder), trainable_modules=modules, low_vram=low_vram
        )
        data = EasyDataArguments(
            video_sample_size=side, image_sample_size=side, video_sample_n_frames=frames, train_mode="inpaint"
        )
        (memory,) = plan_training(model, data, TrainingOptions(**options), device, program=0).values()
        return memory.peak / GB

    return planned


@pytest.mark.long
def test_what_takes_less_takes_less(plan):
    most = plan(level="O1")
    for options in ({"checkpointing": True}, {"side": 256}, {"frames": 16}):
        assert plan(**{"level": "O1", **options}) < 0.9 * most, options
    for options in ({"sharding": 1, "processes": 4}, {"modules": ["attn1"]}, {"low_vram": True}, {"moments": 1}):
        assert plan(**{"level": "O1", **options}) < most, options
    assert plan() > 1.5 * most and plan(level="O1", batch=2) > 1.5 * most
    assert plan(level="O1", ema=True) > most
    assert plan("cpu") > plan("gpu")  # which keeps no scores of attention


def test_released_transformer_has_as_many_parameters_as_is_known_and_sizes_of_token_lengths(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text((CONFIGS / "v4.yaml").read_text().replace("image_sample_size: 512", "image_sample_size: 768"))
    plans = plan_file(path, "gpu")
    assert list(plans) == [(512, 512, 144), (640, 640, 88), (768, 768, 64)]
    activations = [plan.parts["activations"] for plan in plans.values()]
    assert max(activations) < 1.2 * min(activations)
    (weights,) = {plan.parts["weights"] for plan in plans.values()}
    assert weights == pytest.approx(4 * 1.94e9, rel=0.01)


def test_command_plans_the_training_of_the_system(capsys):
    def call(*words):
        return run(plan_memory.make_parser(), plan_memory.work, [str(word) for word in words])

    path = CONFIGS / "v4.yaml"
    assert call("--system", "easy_animate", "--train", path, "--device", "gpu") == 0
    assert capsys.readouterr().out.startswith("512x512x144: a process takes about ")
    assert call("--system", "animate_anyone", "--train", path) == 2
    assert "no plan of a training of animate_anyone; --system stable_animator or" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["stable_animator", "easy_animate"])
def test_file_of_a_trainer_without_a_plan_is_told_as_that(system, tmp_path, capsys):
    """All files of trainings that are shipped, and one of nobody."""
    (tmp_path / "nobody.yaml").write_text("rnak: 3\n")
    files = [path for path in sorted(CONFIGS.parent.rglob("*.yaml")) if "/unet/" not in str(path)]
    told = {}
    for path in [*files, tmp_path / "nobody.yaml", tmp_path / "nowhere.yaml"]:
        if any(is_file_of(path, name) for name in PLANNED[system]):
            continue  # which is planned
        words = ["--system", system, "--train", str(path)]
        assert run(plan_memory.make_parser(), plan_memory.work, words) == 2
        (told[f"{path.parent.name}/{path.name}"],) = capsys.readouterr().err.splitlines()
    assert len(told) > 7
    named = {path.rpartition("/")[2]: line for path, line in told.items()}
    assert "unknown keys in" in named["nobody.yaml"] and "nowhere.yaml does not exist" in named["nowhere.yaml"]
    assert "is for scripts/trainer_vae.py, whose memory cannot be predicted; a file for " in told["demo/vae.yaml"]
    assert "for scripts/trainer_stage1.py or scripts/trainer_stage2.py, whose memory" in told["training/stage1.yaml"]
    if system == "stable_animator":
        for name in ("v1", "v2", "v3", "v4", "vae_v2", "vae_v3", "vae_v3_decoder", "vae_v4"):
            assert "--system easy_animate is accepted" in told[f"easy_animate/{name}.yaml"]
        assert "--system easy_animate is accepted" in told["easy_animate_lora/v4.yaml"]
    else:
        assert "--system stable_animator is accepted" in named["stable_animator.yaml"]


def is_file_of(path, trainer):
    with contextlib.suppress(InputError):
        return bool(read_options([str(path)], TRAINERS[trainer].kinds))
    return False


def test_each_trainer_of_the_system_is_planned_and_a_file_of_several_for_each(tmp_path, capsys):
    def lines(path):
        words = ["--system", "easy_animate", "--train", str(path), "--device", "gpu"]
        assert run(plan_memory.make_parser(), plan_memory.work, words) == 0, capsys.readouterr().err
        return capsys.readouterr().out.splitlines()

    (of_lora,) = lines(CONFIGS.parent / "easy_animate_lora" / "v4.yaml")
    assert of_lora.startswith("512x512x144: a process takes about ")
    for name in ("vae_v3", "vae_v3_decoder", "vae_v4"):
        text = (CONFIGS / f"{name}.yaml").read_text()
        assert "EasyAnimateV3-XL-2-InP-512x512/vae" in text or "EasyAnimateV2-XL-2-512x512/vae" in text
        (line,) = lines(CONFIGS / f"{name}.yaml")
        assert "discriminators" in line
    (tmp_path / "both.yaml").write_text("video_sample_n_frames: 17\n")
    starts = [line.partition(": a process takes")[0] for line in lines(tmp_path / "both.yaml")]
    assert starts == [
        "scripts/trainer_easy_animate.py, 512x512x16",
        "scripts/trainer_easy_animate_lora.py, 512x512x16",
    ]


# LoRA


@pytest.fixture(scope="module")
def plan_lora(tmp_path_factory):
    """As `plan`, of LoRA."""
    folder = tmp_path_factory.mktemp("lora") / "v4"
    write_easy(folder, "v4")
    path = folder / "transformer" / "config.json"
    large = {"num_attention_heads": 16, "attention_head_dim": 88, "hidden_size": 1408, "num_layers": 40}
    path.write_text(json.dumps(json.loads(path.read_text()) | large | {"cross_attention_dim": 64}))

    def planned(device="gpu", side=512, frames=48, batch=1, level="O1", checkpointing=False, data=None, **options):
        model = EasyLoraArguments(pretrained_model_name_or_path=str(folder), **options)
        sizes = dict.fromkeys(("video_sample_size", "image_sample_size"), side)
        given = EasyDataArguments(**sizes, video_sample_n_frames=frames, train_mode="inpaint", **(data or {}))
        memory = TrainingOptions(batch=batch, level=level, checkpointing=checkpointing)
        return next(iter(plan_training(model, given, memory, device, program=0).values()))

    return planned


def test_lora_takes_less_than_all_weights_and_more_with_its_rank(plan, plan_lora):
    peak = plan_lora().peak
    assert plan_lora(rank=16).peak < peak < plan(level="O1") * GB
    assert plan_lora(lora_target_modules=["attn1."]).peak < peak
    assert plan_lora(checkpointing=True).peak < 0.9 * peak < plan_lora(batch=2).peak
    assert plan_lora(low_vram=True).peak < peak and plan_lora(train_text_encoder=True).peak > peak
    assert plan_lora(level="fp32").peak > 1.5 * peak


def test_lora_of_a_target_that_no_layer_has_is_refused(plan_lora):
    with pytest.raises(InputError, match="--lora_target_modules 'attn9.' is in no layer's name"):
        plan_lora(lora_target_modules=["attn9."])


def test_number_of_loras_parameters_is_that_of_its_layers(plan_lora):
    linear = 3 * 1408 * 2  # inputs and outputs of to_q, to_k, to_v
    memory = plan_lora(rank=8, lora_target_modules=["attn1.to_q", "attn1.to_k", "attn1.to_v"])
    assert memory.parts["weights"] == memory.parts["gradients"] == 4 * 8 * linear * 40


def test_kept_latents_need_no_encoding(tmp_path):
    write_easy(tmp_path / "v4", "v4")
    model = EasyLoraArguments(pretrained_model_name_or_path=str(tmp_path / "v4"), rank=4)

    def peak(**options):
        data = EasyDataArguments(video_sample_size=64, image_sample_size=64, train_mode="inpaint", **options)
        (memory,) = plan_training(model, data, TrainingOptions(), "cpu", program=0).values()
        return memory.peak

    assert peak(latent_cache="kept") < 0.9 * peak()  # whose convolutions gather surroundings of pixels


def test_pictures_are_planned_where_they_are_alone_or_larger(tmp_path):
    def sizes(**options):
        data = EasyDataArguments(video_sample_n_frames=16, **options)
        return [(side, frames) for side, frames in _sizes(data, 8)]

    assert sizes(video_sample_size=512, image_sample_size=512) == [(512, 16)]
    assert sizes(video_sample_size=256, image_sample_size=512) == [(256, 16), (512, 1)]
    assert sizes(video_sample_size=512, image_sample_size=256, video_repeat=0) == [(256, 1)]


# What networks keep, in numbers that are the same in each run


def kept_by(call):
    """Bytes that Paddle has allocated in `call()` and what it returns keeps."""
    before = core.host_memory_stat_current_value("Allocated", 0)
    result = call()
    return core.host_memory_stat_current_value("Allocated", 0) - before, result


@pytest.mark.parametrize("rank", [0, 4, 64])
def test_activations_of_the_transformer_are_near_what_it_keeps(rank):
    paddle.seed(0)
    widths = {"cross_attention_dim": 32, "cross_attention_dim_t5": 32, "pooled_projection_dim": 32, "text_len": 8}
    network = HunyuanTransformer3D(
        num_attention_heads=2, attention_head_dim=48, hidden_size=96, num_layers=4, projection_dim=32, text_len_t5=8,
        **widths,
    )  # fmt: skip
    network.train()
    options = EasyLoraArguments(rank=max(rank, 1))
    lora = _Lora({"transformer": network}, options) if rank else None
    model = LoraModel(network, make_lora(network, None, options, 0)) if rank else EasyAnimateModel(network)
    shape = [1, 4, 4, 16, 16]
    text = Text(*(x for _ in range(2) for x in (paddle.randn([1, 8, 32]), paddle.ones([1, 8]))))
    inputs = (paddle.randn(shape), paddle.to_tensor([3.0]), text, (128, 128), paddle.randn([1, 8, *shape[2:]]))
    see = (paddle.randn([1, 16, 32]), paddle.ones([1, 16]))
    kept, _ = kept_by(lambda: model(*inputs, *see))
    assert 0.95 < 4 * _activations(network, shape, lora, False, "cpu") / kept < 1.35


TINY = {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1}
WAYS = {
    "v2": ({"slice_mag_vae": True, "mini_batch_encoder": 9, "mini_batch_decoder": 3}, 9),
    "v3": ({"slice_mag_vae": False, "slice_compression_vae": True, "mini_batch_encoder": 8}, 16),
    "v4": ({"slice_mag_vae": False, "cache_compression_vae": True, "mini_batch_encoder": 8}, 16),
}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_activations_of_the_autoencoder_are_near_what_it_keeps(way, checkpointing):
    options, frames = WAYS[way]
    vae = AutoencoderKLMagvit(**TINY, **{"mini_batch_decoder": 2, **options})
    model = VideoVae(vae, checkpointing)
    model.train()
    pixels = paddle.randn([2, 3, frames, 32, 32])
    noise = paddle.randn([2, *model.latent_shape(pixels.shape)])
    before = core.host_memory_stat_current_value("Allocated", 0)
    decoded, *_ = model(pixels, noise)
    core.host_memory_stat_reset_peak_value("Allocated", 0)
    decoded.square().mean().backward()
    peak = core.host_memory_stat_peak_value("Allocated", 0) - before
    gradients = 4 * count(model.parameters())
    _, most = _Activations(vae, 2, 32, "cpu").of_clips(frames, checkpointing)
    assert 0.8 < (4 * most + gradients) / peak < 1.25


def plan_of_vae(tmp_path, **options):
    config = {**CONFIG, **TINY, "slice_compression_vae": False, "cache_compression_vae": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    names = {item.name for item in dataclasses.fields(VideoVaeDataArguments)}
    data = VideoVaeDataArguments(**{name: value for name, value in options.items() if name in names})
    memory = {name: options[name] for name in ("batch", "checkpointing", "ema") if name in options}
    given = {name: value for name, value in options.items() if name not in names | memory.keys()}
    model = VideoVaeArguments(vae_config_path=str(tmp_path / "config.json"), **given)
    return plan_vae(model, data, TrainingOptions(**memory), "cpu", program=0)


def test_what_takes_more_of_the_autoencoders_training_takes_more(tmp_path):
    small = {"video_len": 8, "video_size": 64, "size": 64, "perceptual": "none", "disc_weight": 0}

    def peak(**options):
        (memory,) = plan_of_vae(tmp_path, **{**small, **options}).values()
        return memory.peak

    least = peak()
    for more in ({"video_len": 16}, {"video_size": 96}, {"batch": 2}, {"ema": True}, {"disc_weight": 1}):
        assert peak(**more) > least, more
    assert peak(perceptual="lpips") > least + 4 * 14e6  # VGG16's convolutions
    assert peak(checkpointing=True, video_len=32) < 0.9 * peak(video_len=32)
    assert peak(train_decoder_only=True) < least
    assert list(plan_of_vae(tmp_path, **{**small, "size": 96})) == [(64, 64, 8), (96, 96, 1)]


def test_frames_that_do_not_come_back_are_refused(tmp_path):
    with pytest.raises(InputError, match="--video_len 9 is encoded to"):
        plan_of_vae(tmp_path, video_len=9)
