"""EasyAnimate's pipelines with small networks of random weights: shapes, and what does not fit."""

import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from tests.support.easy_folders import write_easy
from tests.weights.test_lora import write as write_lora

NETWORK = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "hidden_size": 16,
    "num_layers": 2,
    "cross_attention_dim": 16,
    "cross_attention_dim_t5": 16,
    "pooled_projection_dim": 16,
    "projection_dim": 12,
    "n_query": 4,
    "text_len": 5,
    "text_len_t5": 7,
}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.03, "beta_schedule": "scaled_linear", "steps_offset": 1}


def text(batch=1):
    return Text(
        paddle.randn([batch, 5, 16]), paddle.ones([batch, 5]), paddle.randn([batch, 7, 16]), paddle.ones([batch, 7])
    )


def make(cls, in_channels):
    paddle.seed(0)
    vae = AutoencoderKLMagvit(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        slice_mag_vae=False,
        cache_compression_vae=True,
        mini_batch_encoder=8,
        mini_batch_decoder=2,
    )
    transformer = HunyuanTransformer3D(in_channels=in_channels, out_channels=8, **NETWORK)
    vae.eval(), transformer.eval()
    scheduler = make_scheduler("DDIM", {**SCHEDULE, "prediction_type": "v_prediction", "clip_sample": False})
    return cls(vae, None, None, None, None, transformer, scheduler)


@pytest.fixture(scope="module")
def pipeline():
    return make(EasyAnimatePipeline, 4)


@pytest.fixture(scope="module")
def inpainting():
    return make(EasyAnimateInpaintPipeline, 12)


def call(pipeline, *arguments, **options):
    return pipeline(
        *arguments, **{"height": 32, "width": 48, "num_frames": 8, "num_inference_steps": 2, **options}
    ).frames


def test_text_becomes_a_video_or_a_picture(pipeline):
    video = call(pipeline, text(2), text(2))
    assert list(video.shape) == [2, 3, 8, 32, 48] and 0 <= float(video.min()) < float(video.max()) <= 1
    assert list(call(pipeline, text(), num_frames=1, guidance_scale=1.0).shape) == [1, 3, 1, 32, 48]
    assert list(call(pipeline, text(), guidance_scale=1.0, output_type="latent").shape) == [1, 4, 2, 4, 6]


def test_generator_decides_the_noise(pipeline):
    given = text()
    draws = [
        call(pipeline, given, guidance_scale=1.0, generator=paddle.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert bool((draws[0] == draws[1]).all()) and not bool((draws[0] == draws[2]).all())


def test_video_with_known_parts(inpainting):
    video, mask = paddle.rand([1, 3, 8, 32, 48]), paddle.ones([1, 1, 8, 32, 48])
    mask[:, :, :1] = 0
    given = text(), text(), video, mask, paddle.randn([1, 9, 12])
    assert list(call(inpainting, *given).shape) == [1, 3, 8, 32, 48]
    assert list(call(inpainting, *given, strength=0.5).shape) == [1, 3, 8, 32, 48]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"height": 40}, "48x40 does not fit; multiples of 16"),
        ({"num_frames": 9}, "9 frames do not fit; 1, or a multiple of 8"),
        ({"num_inference_steps": 0}, "num_inference_steps 0 is too small"),
        ({"guidance_scale": 3.0}, "guidance needs a text of what is not wanted"),
        ({"latents": paddle.zeros([1, 4, 2, 4, 4])}, r"latents of shape \[1, 4, 2, 4, 4\] were given"),
    ],
)
def test_what_does_not_fit_is_told(pipeline, options, message):
    with pytest.raises(InputError, match=message):
        call(pipeline, text(), **{"guidance_scale": 1.0, **options})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strength": 0.0}, "a strength of 0.0 is no part of"),
        ({"strength": 0.5}, "a strength of 0.5 needs a video to begin with"),
        ({"clip_apply_ratio": 1.5}, "clip_apply_ratio 1.5 is no part of the steps"),
    ],
)
def test_parts_that_are_none_are_told(inpainting, options, message):
    with pytest.raises(InputError, match=message):
        call(inpainting, text(), guidance_scale=1.0, **options)


def test_a_folder_becomes_a_pipeline_that_takes_prompts(tmp_path):
    write_easy(tmp_path / "v4", "v4")
    pipeline = EasyAnimateInpaintPipeline.from_pretrained(tmp_path / "v4", device="cpu", sampler="DDIM")
    pipeline.set_progress_bar_config(disable=True)
    given = {"height": 32, "width": 48, "num_frames": 8, "num_inference_steps": 2}
    noise = paddle.randn([2, 4, 2, 4, 6])
    videos = pipeline(["a dog", "the cat"], "grass", latents=noise, **given).frames
    assert videos.shape == [2, 3, 8, 32, 48]
    alone = pipeline("the cat", "grass", latents=noise[1:], **given).frames
    assert float((videos[1:] - alone).abs().max()) < 1e-5
    embedded = pipeline.embed("the cat"), pipeline.embed("grass")
    assert float((pipeline(*embedded, latents=noise[1:], **given).frames - alone).abs().max()) < 1e-5
    with pytest.raises(InputError, match="2 prompts have 3 negative ones"):
        pipeline(["a", "b"], ["c"] * 3, **given)
    with pytest.raises(InputError, match="unknown option .*: 'smapler'; did you mean 'sampler'"):
        EasyAnimatePipeline.from_pretrained(tmp_path / "v4", smapler="DDIM")


def test_embedded_texts_without_the_lora_of_a_text_encoder_are_told(tmp_path, caplog):
    write_easy(tmp_path / "v4", "v4")
    path = tmp_path / "a.safetensors"
    write_lora(path, {"encoder_layer_0_attention_self_query": (24, 24)}, prefix="lora_te_")

    def make(*loras):
        folder = tmp_path / "v4"
        given = [[str(path), weight] for weight in loras]
        return EasyAnimateInpaintPipeline.from_pretrained(folder, device="cpu", loras=given)

    def warnings(pipeline, *texts):
        caplog.clear()
        pipeline.embed_both(*texts)  # which every call does first
        return [text for text in caplog.messages if "have no effect" in text]

    plain, half, whole = make(), make(0.5), make(1.0)
    texts = [pipeline.embed("a dog") for pipeline in (plain, half, whole)]
    assert float((texts[0].states - texts[2].states).abs().max()) > 1e-4
    told = f"the layers of text encoders in {path} have no effect: the texts are embedded already, without them"
    for i, pipeline in enumerate((half, whole), 1):
        for j, text in enumerate(texts):
            assert warnings(pipeline, text, texts[i]) == ([] if i == j else [told])
            assert warnings(pipeline, texts[i], text) == ([] if i == j else [told])
        assert warnings(pipeline, "a dog") == []
    assert warnings(plain, texts[0].rows(0, 1), texts[0]) == []
    assert warnings(half, texts[1].rows(0, 1), texts[1]) == []


def test_text_encoders_leave_the_memory_when_they_have_done_their_part(tmp_path):
    write_easy(tmp_path / "v4", "v4")
    pipeline = EasyAnimateInpaintPipeline.from_pretrained(tmp_path / "v4", device="cpu")
    pipeline.embed("a dog")
    for name in ("text_encoder", "text_encoder_2"):
        assert not any(parameter._is_initialized() for parameter in getattr(pipeline, name).parameters())


def test_prompts_need_text_encoders(inpainting):
    with pytest.raises(InputError, match="no text encoder; embedded texts are accepted"):
        inpainting("a dog", height=32, width=32, num_frames=8, num_inference_steps=1)
