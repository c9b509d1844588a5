"""Latents that are kept: they train as the videos themselves do, are made once, and never stale."""

import functools
from dataclasses import replace

import numpy as np
import paddle
import pytest
from ppdiffusers.transformers import CLIPImageProcessor

from ppdiffusers_ext.data.animate_anyone.clips import find_clips
from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, choose_image, choose_video
from ppdiffusers_ext.data.synthetic import write_clips
from ppdiffusers_ext.models.animate_anyone import PoseGuider
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training.animate_anyone.latent_cache import (
    CachedClips,
    LatentCache,
    embedding_of,
    fill,
    latents_of,
)
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel
from ppdiffusers_ext.training.animate_anyone.objective import Collate, Objective
from tests.conftest import RELEASED_SCHEDULE

NETWORKS = {"vae": "a", "image_encoder": "b"}
CHOICES = {
    "image": lambda rng, frames: choose_image(rng, frames, 2),
    "video": lambda rng, frames: choose_video(rng, frames, 3, 1),
}
COLLATE = Collate(CLIPImageProcessor())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_clips(folder, 0, range(3), num_frames=9, side=64)
    return folder


@pytest.fixture(scope="module")
def networks(make_vae, make_image_encoder):
    vae, image_encoder = make_vae(), make_image_encoder()
    vae.eval(), image_encoder.eval()
    return vae, image_encoder


@pytest.fixture
def encoders(networks):
    vae, image_encoder = networks
    return functools.partial(latents_of, vae), lambda frames: embedding_of(image_encoder, COLLATE.process(frames))


def samples_of(data, choose=CHOICES["image"], seed=3, side=64, ratio=(1.0, 1.0), scale=(1.0, 1.0)):
    return TrainingClips(find_clips(str(data)), 20, seed, side, side, choose, scale, ratio)


def tensors(batch):
    return {key: paddle.to_tensor(x) if isinstance(x, np.ndarray) else x for key, x in batch.items()}


@pytest.mark.parametrize("kind", CHOICES)
@pytest.mark.parametrize("uncond_ratio", [0.0, 1.0])
def test_loss_is_that_of_the_videos(
    data, tmp_path, networks, encoders, make_reference_unet, make_denoising_unet, kind, uncond_ratio
):
    samples = samples_of(data, CHOICES[kind])
    cache = LatentCache(tmp_path, samples, NETWORKS)
    fill(cache, samples, *encoders)
    kept = CachedClips(cache, samples)
    paddle.seed(1)
    model = AnimateAnyoneModel(make_reference_unet(), make_denoising_unet(), PoseGuider(32))
    objective = Objective(*networks, make_scheduler("DDIM", RELEASED_SCHEDULE), 0, 2, uncond_ratio=uncond_ratio)
    for indices in ((0, 1), (7, 12)):
        plain, cached = (tensors(COLLATE([dataset[i] for i in indices])) for dataset in (samples, kept))
        assert cached["clips"] == plain["clips"]
        assert "pixel_values" not in cached
        np.testing.assert_array_equal(cached["pose_pixel_values"], plain["pose_pixel_values"])
        for of_cache, of_pixels in zip(objective.encode(cached, indices), objective.encode(plain, indices)):
            np.testing.assert_allclose(of_cache, of_pixels, atol=2e-5)
        with paddle.no_grad():
            expected = float(objective(model, plain))
            # These random weights make ten thousand times as much of the last bits of an embedding.
            assert float(objective(model, cached)) == pytest.approx(expected, rel=2e-3)


def test_frames_and_poses_of_a_clip_share_its_one_random_crop(data, tmp_path):
    samples = samples_of(data, CHOICES["video"], ratio=(0.8, 1.0), scale=(0.3, 0.8))
    seen = []

    def encode(pixels):  # the pixels themselves, in the place of latents
        seen.append(pixels)
        return {"mean": pixels, "deviation": np.zeros_like(pixels)}

    cache = LatentCache(tmp_path, samples, NETWORKS)
    fill(cache, samples, encode, lambda frames: frames.mean((1, 2)))
    boxes = [tuple(cache.read(files)["box"]) for files in samples.clips]
    assert len(set(boxes)) == len(boxes)
    for left, top, right, bottom in boxes:
        assert 0.25 < (right - left) * (bottom - top) < 0.85
    joints = np.random.default_rng(0).random((len(cache.read(samples.clips[0])["mean"]), 18, 3)).astype(np.float32)
    np.save(tmp_path / "joints.npy", joints)
    kept = CachedClips(cache, samples)
    kept.clips = [replace(files, keypoints=tmp_path / "joints.npy") for files in samples.clips]
    by_clip = {str(files.video): cache.read(files) for files in samples.clips}
    for index in range(6):
        sample = kept[index]
        of_clip = by_clip[sample["clip"]]
        assert sample["latent_mean"].shape == (4, 3, 64, 64)
        assert all((sample["latent_mean"][:, None] == of_clip["mean"]).all((2, 3, 4)).any(1))
        assert (sample["embedding"] == of_clip["embedding"]).all(1).any()
        assert sample["pose_pixel_values"].max() > 0
        box = np.array(of_clip["box"], np.float32)
        found = sample["joints"][..., :2] * (box[2:] - box[:2]) + box[:2]
        assert all((np.abs(found[:, None] - joints[..., :2]) < 1e-5).all((2, 3)).any(1)), "joints share the crop"


def test_what_is_there_is_not_made_again_and_damage_is(data, tmp_path, encoders):
    samples = samples_of(data)
    cache = LatentCache(tmp_path, samples, NETWORKS)
    fill(cache, samples, *encoders)
    before = [{name: np.array(x) for name, x in cache.read(files).items()} for files in samples.clips]

    def refuse(*_):
        raise AssertionError("made again")

    fill(LatentCache(tmp_path, samples, NETWORKS), samples, refuse, refuse)
    damaged = cache.path_of(samples.clips[1])
    damaged.write_bytes(damaged.read_bytes()[:100])
    fill(cache, samples, *encoders)
    for files, expected in zip(samples.clips, before):
        for name, array in cache.read(files).items():
            np.testing.assert_array_equal(array, expected[name])


def test_processes_make_all_files_together(data, tmp_path, encoders):
    samples = samples_of(data)
    cache = LatentCache(tmp_path, samples, NETWORKS)
    fill(cache, samples, *encoders, part=(1, 2))
    assert [cache.path_of(files).exists() for files in samples.clips] == [False, True, False]
    fill(cache, samples, *encoders, part=(0, 2))
    assert all(cache.path_of(files).exists() for files in samples.clips)


@pytest.mark.parametrize(
    "others",
    [{"seed": 4}, {"side": 72}, {"ratio": (0.9, 1.0)}, {"scale": (0.5, 1.0)}, {"networks": {**NETWORKS, "vae": "c"}}],
)
def test_files_of_other_settings_have_other_names(data, tmp_path, others):
    networks = others.pop("networks", NETWORKS)
    paths = [
        {cache.path_of(files) for files in samples.clips}
        for samples, named in ((samples_of(data), NETWORKS), (samples_of(data, **others), networks))
        for cache in [LatentCache(tmp_path, samples, named)]
    ]
    assert not paths[0] & paths[1]


def test_changed_video_has_a_file_of_its_own(data, tmp_path):
    import shutil

    shutil.copytree(data, tmp_path / "data")
    samples = samples_of(tmp_path / "data")
    first, second, _ = samples.clips
    before = LatentCache(tmp_path / "cache", samples, NETWORKS).path_of(first)
    shutil.copy(second.video, first.video)
    assert LatentCache(tmp_path / "cache", samples, NETWORKS).path_of(first) != before


def test_clip_that_cannot_be_read_is_left_out_and_told(data, tmp_path, encoders, caplog):
    import shutil

    shutil.copytree(data, tmp_path / "data")
    samples = samples_of(tmp_path / "data")
    samples.clips[1].video.write_bytes(b"no video")
    cache = LatentCache(tmp_path / "cache", samples, NETWORKS)
    with caplog.at_level("WARNING"):
        fill(cache, samples, *encoders)
    assert f"{samples.clips[1].video} cannot be read and is left out" in caplog.text
    kept = CachedClips(cache, samples)
    read = [kept[index] for index in range(9)]
    assert {sample["clip"] for sample in read} == {str(samples.clips[index].video) for index in (0, 2)}
    failures = [failure for sample in read for failure in sample["failures"]]
    assert len(failures) >= 3 and all("its latents are not in" in failure for failure in failures)
