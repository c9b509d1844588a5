"""EasyAnimate's autoencoders in compiled engines: what they make is what Paddle makes."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.pipelines.easy_animate.compiled_vae import CompiledCoder, EagerCoder, make_coder
from ppdiffusers_ext.pipelines.easy_animate.video_coding import decode, encode, frames_multiple
from ppdiffusers_ext.pipelines.engines import make_engine
from tests.pipelines.easy_animate.test_video_coding import V2, V3, V4, draw, joined, make

BY_FRAME = {"spatial_group_norm": True, "mid_block_attention_type": "spatial"}
VERSIONS = pytest.mark.parametrize("version", [V2, V3, V4, {**V4, **BY_FRAME}], ids=["V2", "V3", "V4", "by frame"])
ENGINES = pytest.mark.parametrize("engine", ["openvino", "onnx", "inference"])


@pytest.fixture
def coder_of(tmp_path):
    def make_compiled(vae, num_frames, engine="openvino", **options):
        return make_coder(make_engine(engine, tmp_path, **options), Network(vae), num_frames)

    return make_compiled


def decoded(vae, latents, coder):
    return paddle.concat(list(decode(vae, latents, coder)), axis=2).numpy()


@ENGINES
@VERSIONS
def test_videos_and_pictures_are_decoded_as_in_paddle(coder_of, engine, version):
    vae = make(version)
    coder = coder_of(vae, 6, engine)
    for frames in (1, 3 * frames_multiple(vae)):
        latents = draw(vae, frames, batch=2 if frames == 1 else 1)
        expected = joined(vae, latents)
        assert expected.std() > 0.05
        np.testing.assert_allclose(decoded(vae, latents, coder), expected, atol=1e-5)


@ENGINES
@VERSIONS
def test_videos_and_pictures_are_encoded_as_in_paddle(coder_of, engine, version):
    vae = make(version)
    coder = coder_of(vae, 18, engine)
    for frames in (1, 2 * frames_multiple(vae)):
        pixels = paddle.rand([1, 3, frames, 32, 48]) * 2 - 1
        expected = encode(vae, pixels).numpy()
        assert expected.std() > 0.05
        np.testing.assert_allclose(encode(vae, pixels, coder).numpy(), expected, atol=1e-5)


def test_tiles_are_coded_as_in_paddle(coder_of):
    vae = make(V4, tile_sample_min_size=32)
    vae.use_tiling = True
    latents = draw(vae, 2 * frames_multiple(vae), 40, 48)
    coder = coder_of(vae, latents.shape[2])
    np.testing.assert_allclose(decoded(vae, latents, coder), joined(vae, latents), atol=1e-5)
    pixels = paddle.rand([1, 3, frames_multiple(vae), 40, 48]) * 2 - 1
    np.testing.assert_allclose(encode(vae, pixels, coder).numpy(), encode(vae, pixels).numpy(), atol=1e-5)


def test_a_video_that_begins_with_a_picture(coder_of):
    vae = make(V3)
    latents = paddle.randn([1, 4, 5, 4, 6])
    np.testing.assert_allclose(decoded(vae, latents, coder_of(vae, 5)), joined(vae, latents), atol=1e-5)


def test_half_precision_is_near(coder_of):
    vae = make(V4)
    latents = draw(vae, 16)
    near = decoded(vae, latents, coder_of(vae, 4, precision="bfloat16"))
    expected = joined(vae, latents)
    assert 0 < np.abs(near - expected).max() < 0.05


def test_auto_compiles_what_is_called_often_and_goes_on_from_paddle(coder_of, monkeypatch):
    monkeypatch.setattr("ppdiffusers_ext.pipelines.engines.AUTOMATIC", "openvino")
    monkeypatch.setattr("ppdiffusers_ext.pipelines.auto_engine._EXPORT_SECONDS", 0)
    monkeypatch.setattr("ppdiffusers_ext.pipelines.auto_engine._EXPORT_SECONDS_PER_GB", 0)
    monkeypatch.setattr("ppdiffusers_ext.pipelines.auto_engine._LEAST_GAIN", 0)
    vae = make(V4)
    latents = draw(vae, 48)
    coder = coder_of(vae, 10**6, "auto")
    np.testing.assert_allclose(decoded(vae, latents, coder), joined(vae, latents), atol=1e-5)
    assert coder._engine.preparation_seconds > 0


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_auto_decodes_less_than_a_chunk(coder_of, monkeypatch, num_frames):
    monkeypatch.setattr("ppdiffusers_ext.pipelines.engines.AUTOMATIC", "openvino")
    vae = make(V4)
    latents = draw(vae, 16)[:, :, :num_frames]
    np.testing.assert_allclose(
        decoded(vae, latents, coder_of(vae, num_frames, "auto")), joined(vae, latents), atol=1e-5
    )


def test_each_place_of_a_chunk_is_exported_once(coder_of, caplog):
    vae = make(V4)
    latents = draw(vae, 40)
    with caplog.at_level("INFO"):
        decoded(vae, latents, coder_of(vae, 10))
        decoded(vae, latents, coder_of(vae, 10))
    assert sum("once for these shapes" in record.message for record in caplog.records) == 2  # the first and the others


def test_what_one_export_works_with_is_freed_before_another_runs(coder_of, monkeypatch):
    vae = make(V4)
    coder, rested = coder_of(vae, 10), []
    monkeypatch.setattr(coder._engine, "rest", rested.append)
    decoded(vae, draw(vae, 40), coder)  # the first chunk, and four others
    assert len(rested) == 1 and rested[0].model is vae


def test_weights_are_loaded_for_paddle_alone(coder_of):
    vae = make(V4)
    assert isinstance(coder_of(vae, 2, "eager"), EagerCoder)
    assert isinstance(coder_of(vae, 2), CompiledCoder)


@ENGINES
def test_pictures_of_the_first_version(coder_of, engine, make_vae):
    vae = use_own_layers(make_vae())
    coder = coder_of(vae, 6, engine)
    pixels = paddle.rand([1, 3, 6, 32, 48]) * 2 - 1
    latents = encode(vae, pixels)
    np.testing.assert_allclose(encode(vae, pixels, coder).numpy(), latents.numpy(), atol=1e-5)
    assert decoded(vae, latents, coder).shape[2] == 6
    np.testing.assert_allclose(decoded(vae, latents, coder), joined(vae, latents), atol=1e-5)
