"""Training on kept latents: the command that keeps them, and what a training makes of them."""

import dataclasses

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.data.easy_animate.clips import find_captioned_clips
from ppdiffusers_ext.data.easy_animate.samples import CaptionedCollate, CaptionedSamples
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.pipelines.easy_animate import loading
from ppdiffusers_ext.training.easy_animate.caching import embed, encode
from ppdiffusers_ext.training.easy_animate.encoders import ALONG_TIME, Encoders
from ppdiffusers_ext.training.easy_animate.latent_cache import CachedCollate
from ppdiffusers_ext.training.easy_animate.objective import EasyObjective
from ppdiffusers_ext.training.easy_animate.options import EasyModelArguments
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.loading import load_arrays
from scripts.training import main
from tests.support.easy_folders import write_easy
from tests.training.easy_animate.small import settings, write_clips

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("easy")
    write_easy(root / "v4", "v4")
    return {"v4": root / "v4", "meta": write_clips(root / "clips", 3, 1)}


def run(job, places, folder, **options):
    words = settings(folder, places["v4"], places["meta"], "v4", save_strategy="no", **options)
    return main(job, words)


def test_training_reads_what_the_command_keeps_and_no_clip(places, tmp_path, monkeypatch):
    cache = {"latent_cache": str(tmp_path / "cache"), "latent_variants": 2, "text_drop_ratio": 0.5}
    assert run("cache_latents", places, tmp_path / "first", **cache) == 0
    kept = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len(kept) == 2 * 4 + 4 + 1
    times = [path.stat().st_mtime_ns for path in kept]
    assert run("cache_latents", places, tmp_path / "again", rank=4, network_alpha=4, **cache) == 0
    assert [path.stat().st_mtime_ns for path in kept] == times

    for name in ("view", "embed_texts", "embed_pictures"):
        monkeypatch.setattr(Encoders, name, None)  # so that nothing is computed again
    assert run("easy_animate", places, tmp_path / "training", max_steps=4, **cache) == 0
    before, after = (load_tensors(folder / WEIGHTS) for folder in (places["v4"], tmp_path / "training" / "out"))
    assert any(not np.array_equal(after[name].numpy(), before[name].numpy()) for name in after)


def test_training_reads_kept_latents_of_the_sizes_that_it_would_draw(places, tmp_path, monkeypatch):
    drawn = dict.fromkeys(("enable_bucket", "random_ratio_crop", "random_frame_crop", "random_hw_adapt"), True)
    drawn |= {"video_sample_n_frames": 16, "training_with_video_token_length": True}
    cache = {"latent_cache": str(tmp_path / "cache"), "latent_variants": 3, **drawn}
    assert run("cache_latents", places, tmp_path / "first", **cache) == 0
    shapes = {load_arrays(path)["moments"].shape for path in (tmp_path / "cache" / "clips").rglob("*.safetensors")}
    assert len(shapes) > 3
    seen = []
    for name in ("view", "embed_texts", "embed_pictures"):
        monkeypatch.setattr(Encoders, name, None)
    original = EasyObjective.encode
    monkeypatch.setattr(EasyObjective, "encode", lambda self, batch: _noted(seen, original(self, batch)))
    options = {"max_steps": 4, "per_device_train_batch_size": 2, **cache}
    assert run("easy_animate", places, tmp_path / "training", **options) == 0
    assert len(seen) == 4 and len(set(seen)) > 1


def _noted(seen, given):
    seen.append(tuple(given.latents.shape[1:]))
    return given


def test_batch_of_kept_latents_teaches_what_the_clips_do(places):
    """To the bits, but for networks that are given one sample at a time."""
    config = loading.read_folder(places["v4"])
    parts = loading.describe_parts(config)
    components = loading.read_components(config, parts)
    components |= {name: part.load() for name, part in parts.items() if name != "transformer"}
    encoders = Encoders.of_components(components, 1, False)
    objective = EasyObjective(encoders, None, components["transformer"], 3, EasyModelArguments())
    names = ("video_sample_size", "image_sample_size", "video_sample_n_frames")
    given = dict(zip(names, (64, 64, 8)), video_sample_stride=1, train_mode="inpaint")
    samples = CaptionedSamples(find_captioned_clips(places["meta"]), 8, 3, SampleSettings(**given), 2, 2)
    collate, seen = CaptionedCollate(SampleSettings(**given), 3), set()
    for number in range(3):
        of_pixels = [samples[2 * number + place] for place in range(2)]
        of_latents = []
        for sample in of_pixels:
            cached = {**encode(encoders, collate([sample])), **embed(encoders, sample["text"])}
            of_latents.append({**sample, "cached": cached})
        batches = [collate(of_pixels), CachedCollate(ALONG_TIME, SampleSettings(**given))(of_latents)]
        first, second = (objective.encode({name: _tensor(x) for name, x in batch.items()}) for batch in batches)
        seen.add(first.latents.shape[2])
        for field in dataclasses.fields(first):
            for one, other in zip(*(_tensors(getattr(each, field.name)) for each in (first, second))):
                assert one.dtype == other.dtype
                np.testing.assert_allclose(other.numpy(), one.numpy(), atol=1e-5, err_msg=field.name)
    assert len(seen) == 2  # pictures and videos


def _tensor(x):
    return paddle.to_tensor(x) if isinstance(x, np.ndarray) else x


def _tensors(given):
    given = (
        [getattr(given, name) for name in ("states", "mask", "states_2", "mask_2")]
        if hasattr(given, "mask")
        else given
    )
    given = given if isinstance(given, (list, tuple)) else [given]
    return [paddle.to_tensor(x) for x in given if x is not None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "lacks the latents of 4 of 4 clips"),
        ({"latent_cache": "README.md"}, "--latent_cache README.md is no folder"),
        ({"latent_cache": "nowhere"}, "--latent_cache nowhere does not exist; one that scripts.cache_latents made"),
    ],
)
def test_training_without_what_it_needs_is_refused(places, tmp_path, capsys, options, message):
    (tmp_path / "cache").mkdir()
    assert run("easy_animate", places, tmp_path, **{"latent_cache": str(tmp_path / "cache"), **options}) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "checkpoint-1").exists()


def test_command_needs_a_folder(places, tmp_path, capsys):
    assert run("cache_latents", places, tmp_path) == 2
    assert "--latent_cache is missing" in capsys.readouterr().err
