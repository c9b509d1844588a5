"""Training of V1 for inpainting, whose transformer sees the mask itself: what it sees, learns, and leaves."""

import re

import numpy as np
import paddle
import pytest
import yaml
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.data.easy_animate.clips import find_captioned_clips
from ppdiffusers_ext.data.easy_animate.samples import CaptionedCollate, CaptionedSamples
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.pipelines.easy_animate import loading
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.training.easy_animate.encoders import Encoders
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel, encode_video
from ppdiffusers_ext.training.easy_animate.objective import EasyObjective
from ppdiffusers_ext.training.easy_animate.options import EasyModelArguments
from ppdiffusers_ext.training.easy_animate.run import _read_widened
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.assignment import load_weights
from scripts.training import main
from tests.support.easy_folders import MOTION_MODULE, config_for, v1_options, write_easy
from tests.training.easy_animate.small import settings, write_clips

FIRST = "pos_embed.proj.weight"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
SIDE, FRAMES = 64, 8


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("v1")
    write_easy(root / "v1", "v1")
    for name, more in (("wide", {"in_channels": 9}), ("narrow", {})):
        (root / f"{name}.yaml").write_text(yaml.safe_dump({"transformer": {**v1_options(), **more}}))
    return root, write_clips(root / "clips", 2, 1)


def run(places, folder, config="wide", job="easy_animate", **options):
    root, meta = places
    given = {"config_path": str(root / f"{config}.yaml"), "motion_module_path": str(root / "v1" / MOTION_MODULE)}
    given |= {"train_mode": "inpaint", "timestep_sampling": "uniform", **options}
    return main(job, settings(folder, root / "v1", meta, "v1", **given))


@pytest.fixture(scope="module")
def trained(places, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    validation = {"validation_steps": 9, "validation_clips": 1, "validation_inference_steps": 1}
    assert run(places, folder, save_strategy="no", **validation) == 0
    return folder / "out"


def test_first_layer_learns_what_is_known(trained, places):
    before, after = (load_tensors(folder / WEIGHTS)[FIRST].numpy() for folder in (places[0] / "v1", trained))
    assert after.shape[1] == 9 and before.shape[1] == 4
    np.testing.assert_allclose(after[:, :4], before, atol=0.01)  # two steps of 0.001
    assert 0 < np.abs(after[:, 4:]).max() < 0.01


def test_output_makes_videos_that_begin_with_a_picture(trained):
    pipeline = DiffusionPipeline.from_pretrained(str(trained))
    assert type(pipeline) is EasyAnimateInpaintPipeline
    sizes = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "num_inference_steps": 2, "guidance_scale": 1.0}
    picture = np.full((SIDE, SIDE, 3), 200, np.uint8)
    told, other = (
        pipeline("a wave", start_image=start, generator=paddle.Generator().manual_seed(1), output_type="np", **sizes)
        for start in (picture, 255 - picture)
    )
    assert np.isfinite(told.frames).all() and np.abs(np.array(told.frames) - np.array(other.frames)).max() > 0


def test_pipeline_shows_the_mask_itself_and_the_latents_of_what_it_leaves(trained):
    pipeline = DiffusionPipeline.from_pretrained(str(trained))
    rng = np.random.default_rng(0)
    video = paddle.to_tensor(rng.random((1, 3, FRAMES, SIDE, SIDE), np.float32))
    mask = paddle.to_tensor((rng.random((1, 1, FRAMES, SIDE, SIDE)) < 0.5).astype(np.float32))
    shape = [1, 4, FRAMES, SIDE // 8, SIDE // 8]
    known = pipeline._known(video, mask, shape)
    assert known.shape == [1, 5, *shape[2:]]
    np.testing.assert_array_equal(known[:, :1].numpy(), mask[..., ::8, ::8].numpy())
    masked = video.numpy() * 2 * (1 - mask.numpy()) - 1
    np.testing.assert_allclose(
        known[:, 1:].numpy(), pipeline._encode(paddle.to_tensor(masked)).numpy(), rtol=1e-4, atol=1e-4
    )
    assert not pipeline._known(None, None, shape).any() and pipeline._known(None, None, shape).shape[1] == 5


def test_training_shows_the_same_scaled_as_the_latents_are(places):
    """The original's own training leaves what is known unscaled, and its inference scales it."""
    root, meta = places
    config = config_for(root / "v1", "v1", transformer={**v1_options(), "in_channels": 9})
    parts = loading.describe_parts(config)
    components = loading.read_components(config, parts)
    components |= {name: part.load() for name, part in parts.items() if name != "transformer"}
    encoders = Encoders.of_components(components, 4, False)
    objective = EasyObjective(encoders, None, components["transformer"], 3, EasyModelArguments())
    given = SampleSettings(
        video_sample_size=SIDE, image_sample_size=SIDE, video_sample_n_frames=FRAMES, video_sample_stride=1,
        train_mode="inpaint", frames_multiple=1,
    )  # fmt: skip
    samples = CaptionedSamples(find_captioned_clips(meta), 12, 3, given, 2, 2)
    collate, partly = CaptionedCollate(given, 3), 0
    for number in range(6):
        batch = collate([samples[2 * number + place] for place in range(2)])
        tensors = {name: paddle.to_tensor(x) if isinstance(x, np.ndarray) else x for name, x in batch.items()}
        known = objective.encode(tensors).known.numpy()
        masks = batch["masks"].transpose(0, 2, 1, 3, 4)
        assert known.shape[1] == 5
        videos = batch["pixel_values"].transpose(0, 2, 1, 3, 4)
        masked = paddle.to_tensor(videos * (1 - masks) - masks)
        mean, deviation = np.split(encode_video(components["vae"], masked, 4).numpy(), 2, axis=1)
        for row in range(2):
            if not known[row].any():
                assert masks[row].all()  # a row that is told nothing
                continue
            partly += 1
            np.testing.assert_array_equal(known[row, 0], masks[row, 0, :, ::8, ::8])
            drawn = known[row, 1:] / encoders.scaling_factor - mean[row]
            assert np.abs(drawn).max() <= 6 * deviation[row].max()
    assert partly > 2


def test_weights_without_inpainting_predict_the_same_at_first(places):
    root, _ = places
    files = [root / "v1" / WEIGHTS, root / "v1" / MOTION_MODULE]
    models = []
    for channels in (4, 9):
        model = loading.make_transformer(root / "v1", {**v1_options(), "in_channels": channels})
        models.append(EasyAnimateModel(load_weights(model, *(_read_widened(path, model) for path in files))))
    width = models[0].transformer.config.caption_channels
    paddle.seed(0)
    noisy, known = paddle.randn([1, 4, 2, 8, 8]), paddle.randn([1, 5, 2, 8, 8])
    text = Text(paddle.randn([1, 6, width]), paddle.ones([1, 6]))
    timestep = paddle.to_tensor([3.0])
    expected = models[0](noisy, timestep, text, (64, 64)).numpy()
    np.testing.assert_allclose(models[1](noisy, timestep, text, (64, 64), known).numpy(), expected, atol=1e-5)


def test_kept_latents_have_the_mask_itself(places, tmp_path):
    cache = {"latent_cache": str(tmp_path / "cache"), "save_strategy": "no"}
    assert run(places, tmp_path / "first", job="cache_latents", **cache) == 0
    assert run(places, tmp_path / "second", **cache) == 0


@pytest.mark.parametrize(
    ("config", "mode", "message"),
    [
        (
            "narrow",
            "inpaint",
            "is for a transformer of 9 channels, and .* has one of 4; normal is accepted, or in_chan",
        ),
        ("wide", "normal", "is for a transformer of 4 channels, and .* has one of 9; inpaint is accepted"),
    ],
)
def test_transformer_of_another_mode_is_refused(places, tmp_path, capsys, config, mode, message):
    assert run(places, tmp_path, config, train_mode=mode) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert re.search(message, line), line
