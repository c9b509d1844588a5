"""Calls of EasyAnimate's transformers: in engines, one text after the other, and with blocks that are left out."""

import paddle
import pytest

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text, TransformerCall
from ppdiffusers_ext.pipelines.engines import make_engine
from ppdiffusers_ext.pipelines.steps import BlockCaching, Guidance
from tests.pipelines.easy_animate.test_pipeline import NETWORK, text

SIZE, STEPS = (2, 4, 6), 6
SOME = {HunyuanTransformer3D: 0.25, PixArtTransformer3D: 0.1}  # thresholds with which some steps are whole
MOTION = {"num_attention_heads": 2, "num_transformer_block": 1, "temporal_position_encoding": True}
GLOBAL = {**MOTION, "attention_block_types": ("Temporal_Self", "Global_Self")}
PIXART = {
    "num_attention_heads": 4,
    "attention_head_dim": 24,
    "cross_attention_dim": 96,
    "caption_channels": 16,
    "sample_size": 128,
    "basic_block_type": "global_motionmodule",
    "motion_module_kwargs_even": MOTION,
    "motion_module_kwargs_odd": GLOBAL,
}


@pytest.fixture(scope="module")
def hunyuan():
    paddle.seed(0)
    return HunyuanTransformer3D(in_channels=12, **{**NETWORK, "num_layers": 4}), paddle.randn([1, 9, 12])


@pytest.fixture(scope="module")
def pixart():
    paddle.seed(0)
    model = PixArtTransformer3D(num_layers=2, **PIXART)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # biases, which are zero, and norms
            parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
    return model, paddle.randn([1, 768])


@pytest.fixture(params=["hunyuan", "pixart"])
def network(request):
    model, clip = request.getfixturevalue(request.param)
    model.eval()
    return Network(model), clip


def texts(network):
    paddle.seed(1)
    pair = text(), text()
    if isinstance(network.model, HunyuanTransformer3D):
        return pair
    masks = [paddle.to_tensor([[1.0] * n + [0.0] * (5 - n)]) for n in (2, 4)]
    return tuple(Text(each.states, mask) for each, mask in zip(pair, masks))


def make(network, clip, engine="eager", guidance=None, threshold=0.0, cache=None, precision="float32"):
    guidance = guidance or Guidance(3.0)
    unwanted, wanted = texts(network)
    engine = make_engine(engine, cache, threads=1, precision=precision)
    given = (
        (unwanted if guidance.scale > 1 else None, wanted),
        SIZE,
        (32, 48),
        STEPS,
        guidance,
        BlockCaching(threshold),
    )
    with paddle.no_grad():
        call = TransformerCall(engine, network, *given)
        call.see(paddle.randn([1, 8, *SIZE]), clip, 1)
    return call


@paddle.no_grad()
def predict(call, drift=0.05):
    """Predictions of all steps, for latents that drift."""
    paddle.seed(2)
    latents, noise = (paddle.randn([1, 4, *SIZE]) for _ in range(2))
    steps = [call(latents + drift * i * noise, 900 - 10 * i, i) for i in range(STEPS)]
    return paddle.stack([paddle.concat(predictions) for predictions in steps])


def difference(first, second):
    return float((first - second).abs().max() / second.abs().max())


def count_whole(call):
    """A list to which each whole step is added."""
    run, whole = call._engine.run, []
    call._engine.run = lambda network, what, *given, **options: (
        what in ("rest", "denoise") and whole.append(what),
        run(network, what, *given, **options),
    )[1]
    return whole


def test_predictions_are_those_of_the_whole_transformer(hunyuan):
    model, clip = hunyuan
    network = Network(model.eval())
    unwanted, wanted = texts(network)
    given = make(network, clip)
    known = given._known["known"]
    tables = model.prepare_tables(*SIZE)
    rotation = tuple(tables[name][: SIZE[1] * SIZE[2] // 4] for name in ("cosines", "sines"))
    paddle.seed(2)
    latents = paddle.randn([1, 4, *SIZE])
    sizes = paddle.to_tensor([[1024.0, 1024.0, 32.0, 48.0, 0.0, 0.0]])
    with paddle.no_grad():
        predictions = given(latents, 700, 2)
        for prediction, each, seen in zip(predictions, (unwanted, wanted), (0.0, 1.0)):
            arguments = each.states, each.mask, each.states_2, each.mask_2, sizes, rotation, known
            whole = model(latents, paddle.to_tensor([700.0]), *arguments, clip * seen, paddle.full([1, 4], seen))
            assert difference(prediction, whole[:, :4]) < 1e-5
    assert difference(predictions[0], predictions[1]) > 1e-2


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_engines_give_what_paddle_gives(network, tmp_path, engine):
    eager = predict(make(*network))
    assert 0 < difference(predict(make(*network, engine, cache=tmp_path)), eager) < 1e-3
    for options in ({"threshold": 1e-9}, {"guidance": Guidance(3.0, sequential=True)}):
        assert difference(predict(make(*network, engine, cache=tmp_path, **options)), eager) < 1e-3


def test_half_precision_in_openvino_is_near(network, tmp_path):
    eager = predict(make(*network))
    half = predict(make(*network, "openvino", cache=tmp_path, precision="bfloat16"))
    assert float((half - eager).square().mean()) < 1e-3 * float(eager.square().mean())


def test_one_text_after_the_other_gives_the_same(network):
    assert difference(predict(make(*network, guidance=Guidance(3.0, sequential=True))), predict(make(*network))) < 1e-5


def test_steps_without_guidance_predict_for_the_wanted_text_alone(network):
    whole = predict(make(*network))  # (steps, 2, 4, frames, height, width)
    call = make(*network, guidance=Guidance(3.0, interval=(0.5, 1.0)))
    paddle.seed(2)
    latents, noise = (paddle.randn([1, 4, *SIZE]) for _ in range(2))
    with paddle.no_grad():
        steps = [call(latents + 0.05 * i * noise, 900 - 10 * i, i) for i in range(STEPS)]
    assert [len(predictions) for predictions in steps] == [1, 1, 1, 2, 2, 2]
    assert difference(steps[1][0], whole[1, 1:]) < 1e-5


def test_without_guidance_one_text_is_enough(network):
    alone = predict(make(*network, guidance=Guidance(1.0)))
    assert difference(alone, predict(make(*network))[:, 1:]) < 1e-5


def test_a_threshold_decides_how_many_steps_are_whole(network):
    exact, numbers, errors = predict(make(*network)), [], []
    for threshold in (1e-9, SOME[type(network[0].model)], 1e9):
        call = make(*network, threshold=threshold)
        whole = count_whole(call)
        errors.append(difference(predict(call), exact))
        numbers.append(len(whole))
    assert numbers[0] == STEPS > numbers[1] > numbers[2] == 2  # the first and the last
    assert errors[0] < 1e-5 < errors[1] < errors[2]


def test_blocks_are_left_out_in_engines_as_in_paddle(network, tmp_path):
    eager = predict(make(*network, threshold=1e9))
    call = make(*network, "onnx", threshold=1e9, cache=tmp_path)
    whole = count_whole(call)
    assert difference(predict(call), eager) < 1e-3
    assert len(whole) == 2


def test_what_was_kept_does_not_outlive_a_gap_or_the_clip(network):
    call = make(*network, threshold=1e9, guidance=Guidance(3.0, interval=(0.5, 1.0)))
    whole = count_whole(call)
    predict_steps = [paddle.randn([1, 4, *SIZE]) for _ in range(STEPS)]
    with paddle.no_grad():
        for i, latents in enumerate(predict_steps):
            call(latents, 500, i)
    assert len(whole) == 3  # the first, the first with guidance, and the last
    assert make(*network, threshold=1e9).kept == {}


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_a_threshold_that_is_none_is_told(threshold):
    with pytest.raises(InputError, match="the threshold of block caching is .*; a number of 0 or more is accepted"):
        BlockCaching(threshold)
