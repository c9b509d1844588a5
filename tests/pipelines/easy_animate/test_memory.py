"""The plan of EasyAnimate's memory: how its figures hang together, and the table of sizes and GPUs."""

from dataclasses import replace

import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.pipelines.easy_animate import memory as easy_memory_plan
from ppdiffusers_ext.pipelines.easy_animate.memory import check_memory, plan_memory
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.easy_animate.size_table import lines, released_models, size_table
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.assignment import create

CPU, GPU = Runtime("cpu", "float32"), Runtime("gpu:0", "bfloat16")
PROGRAM = 600_000_000
SLICES = {"slice_mag_vae": False, "mini_batch_encoder": 8, "mini_batch_decoder": 2}
V4_VAE = {**SLICES, "cache_compression_vae": True}
V3_VAE = {**SLICES, "slice_compression_vae": True}
WIDTH, DEPTH = 352, 40
CONFIG = EasyAnimateConfig(width=672, height=384, num_frames=48)


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setattr(easy_memory_plan, "resident_memory", lambda: PROGRAM)


@pytest.fixture(scope="module")
def models():
    """Of V4 with a narrow transformer, without weights."""
    narrow = {"num_attention_heads": 4, "hidden_size": WIDTH}
    return {
        "vae": create(lambda: AutoencoderKLMagvit(**V4_VAE)),
        "transformer": create(lambda: HunyuanTransformer3D(**narrow)),
    }


def plan(models, config=CONFIG, rung="high", runtime=CPU, **options):
    (result,) = plan_memory(models, replace(config, **options), runtime, [rung])
    assert result.rung == rung
    return result


def count(model):
    return sum(tensor.size for tensor in model.state_dict().values())


@pytest.mark.parametrize("less", [{"width": 336}, {"height": 192}, {"num_frames": 8}], ids=str)
def test_smaller_videos_take_less(models, less):
    assert plan(models, **less).host < plan(models).host


def test_frames_take_memory_for_their_latents_alone_while_they_are_decoded(models):
    short, long = (plan(models, num_frames=frames) for frames in (48, 96))
    assert short.stage == long.stage == "decoding of frames"
    assert long.host - short.host == 12 * (384 // 8) * (672 // 8) * 4 * 8 * 4


def test_frames_and_guidance_take_tokens_of_the_transformer(models):
    wide = {**models, "vae": create(lambda: AutoencoderKLMagvit(**V4_VAE, block_out_channels=(32,) * 4))}
    tokens = 24 * 36 * 42  # of one text more
    low = plan(wide, num_frames=144, guidance_scale=1.0)
    high = plan(wide, num_frames=144)
    assert low.stage == high.stage == "transformer"
    assert high.host - low.host > tokens * WIDTH * (DEPTH // 2 - 1) * 4
    assert plan(wide, num_frames=144, rung="medium").host == low.host


def test_rungs_and_tiles_take_less(models):
    large = replace(CONFIG, width=1680, height=960)
    high, medium, low, minimal = (plan(models, large, rung).host for rung in ("high", "medium", "low", "minimal"))
    transformer = 4 * count(models["transformer"])
    assert high == medium and high - low == transformer and minimal < low / 4
    assert plan(models, large, "low", vae_tiling=True).host < low / 4


def test_tiles_of_v4_wait_for_one_another(models):
    large = replace(CONFIG, width=1680, height=960)
    first, second = (plan(models, large, "minimal", num_frames=frames) for frames in (16, 24))
    latents = 2 * (960 // 8) * (1680 // 8) * 4 * 8 * 4
    tiles = (3 * 384 + 96) * (5 * 384 + 240) + 384 * 384
    assert second.host - first.host == latents + 8 * tiles * 3 * 4
    of_v3 = {**models, "vae": create(lambda: AutoencoderKLMagvit(**V3_VAE))}
    first, second = (plan(of_v3, large, "minimal", num_frames=frames) for frames in (16, 24))
    assert second.host - first.host == latents


def test_weights_are_in_memory_as_they_are_kept(models):
    small = replace(CONFIG, width=16, height=16, num_frames=1)
    transformer = models["transformer"]
    linear = sum(layer.weight.size for layer in transformer.blocks.sublayers() if type(layer).__name__ == "Linear")
    alone = {
        "transformer": transformer,
        "vae": create(lambda: AutoencoderKLMagvit(**V4_VAE, block_out_channels=(32,) * 4)),
    }
    plain, stored = (plan(alone, small, rung="low", weights=weights) for weights in (None, "int8"))
    assert plain.stage == stored.stage == "transformer" and plain.host - stored.host == 3 * linear
    blocks = sorted(count(block) for block in transformer.blocks)
    minimal = plan(alone, small, rung="minimal").host
    assert plain.host - minimal == 4 * sum(blocks[:-1])  # one block at a time


def test_engines_have_copies_of_what_a_chunk_leaves(models):
    eager, engine = (plan(models, engine=name) for name in ("eager", "openvino"))
    assert eager.stage == engine.stage == "decoding of frames"
    left = 384 * 672 * 17_000
    assert left < engine.host - eager.host < 3 * left
    in_v3 = {**models, "vae": create(lambda: AutoencoderKLMagvit(**V3_VAE))}
    assert abs(plan(in_v3, engine="openvino").host / plan(in_v3).host - 1) < 0.1
    with_more = plan(in_v3, engine="openvino", video="video.mp4").host
    assert with_more > plan(in_v3, engine="openvino").host


def test_text_encoders_are_alone_in_memory(models):
    encoder = create(lambda: paddle.nn.Linear(40000, 40000, bias_attr=False))
    large = {**models, "text_encoder_2": encoder}
    for rung in ("high", "minimal"):
        of_text = plan(large, rung=rung, width=64, height=64)
        assert of_text.stage == "text encoder 2" and of_text.host == PROGRAM + 4 * 40000**2


def test_what_is_known_is_encoded(models):
    known = plan(models, video="video.mp4")
    assert known.host - plan(models).host > 48 * 384 * 672 * 3 * 4
    (of_gpu,) = plan_memory(models, CONFIG, GPU, ["high"])
    assert of_gpu.host == PROGRAM < of_gpu.device


def test_earlier_versions(make_vae):
    motion = {"num_attention_heads": 4, "num_transformer_block": 1, "temporal_position_encoding": True}
    transformer = create(
        lambda: PixArtTransformer3D(4, 8, 4, 8, 28, 32, caption_channels=16, motion_module_kwargs=motion)
    )
    of_v1 = {"vae": make_vae(), "transformer": transformer}
    assert plan(of_v1, num_frames=16).host < plan(of_v1, num_frames=80).host
    of_v3 = {"vae": create(lambda: AutoencoderKLMagvit(**V3_VAE)), "transformer": transformer}
    of_v4 = {"vae": create(lambda: AutoencoderKLMagvit(**V4_VAE)), "transformer": transformer}
    assert plan(of_v3).host < plan(of_v4).host  # which keeps what its chunks end with


def test_what_does_not_fit_is_refused(models):
    needs = [plan(models, rung=rung).host for rung in ("high", "low")]
    assert needs[1] < needs[0]
    with pytest.raises(InputError, match="--memory low, which takes about .* is accepted"):
        check_memory(models, CONFIG, CPU, available=(needs[0] + needs[1]) // 2)
    with pytest.raises(InputError, match="no rung of --memory fits; .* or fewer --frames, are accepted"):
        check_memory(models, CONFIG, CPU, available=PROGRAM)
    assert check_memory(models, CONFIG, CPU, available=needs[0]).host == needs[0]
    assert check_memory(models, replace(CONFIG, ignore_memory=True), CPU, available=1).host == needs[0]


def test_table_of_the_released_size():
    models = released_models()
    assert not any(tensor._is_initialized() for tensor in models["transformer"].parameters())
    table = size_table(models, (1, 24, 1000), ((384, 672, 72), (960, 1680, 96)))
    assert list(table[1].values()) == [None, None] and list(table[1000].values()) == ["high", "high"]
    small, large = table[24].values()
    assert small == "high" and large in ("tiles", "int8", "minimal")
    rows = list(lines(table))
    assert rows[0] == "| GPU memory | 384x672x72 | 960x1680x96 |" and rows[2] == "| 1 GB | no | no |"
