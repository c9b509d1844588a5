"""Files of what frozen networks make of clips: made once, whole, and read for the clips that they are of."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip
from ppdiffusers_ext.data.easy_animate.samples import CaptionedSamples
from ppdiffusers_ext.data.easy_animate.settings import OF_BATCHES, SampleSettings
from ppdiffusers_ext.data.file_facts import FileFacts
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.training.easy_animate.latent_cache import (
    CachedCollate,
    CachedSamples,
    LatentCache,
    fill,
    networks_of,
)
from ppdiffusers_ext.weights.loading import load_arrays
from tests.support.captioned import numbers_of, write_picture, write_video

SETTINGS = SampleSettings(
    video_sample_size=64, image_sample_size=64, video_sample_n_frames=16, video_sample_stride=1,
    enable_bucket=True, train_mode="inpaint",
)  # fmt: skip
NETWORKS = {"vae": "1", "text_encoder": "2"}


@pytest.fixture
def clips(tmp_path):
    return [
        CaptionedClip(write_video(tmp_path / "a.mp4", 40, 96, 48), "a wave", True, 96, 48),
        CaptionedClip(write_video(tmp_path / "b.mp4", 12, 96, 48), "a bow", True, 96, 48),
        CaptionedClip(write_picture(tmp_path / "c.png", 96, 48), "a picture", False, 96, 48),
    ]


class Networks:
    """What stands for networks: the mean of each frame, and the length of a text. They count what they are given."""

    def __init__(self):
        self.encoded, self.embedded = [], []

    def encode(self, batch):
        self.encoded += batch["clips"]
        means = batch["pixel_values"][0].mean(axis=(2, 3)).T  # (3, frames)
        return {
            "moments": means,
            "masked": batch["masks"][0].mean(axis=(1, 2, 3))[None],
            "pixels": np.array(batch["pixel_values"].shape[3:]),
        }

    def embed(self, text):
        self.embedded.append(text)
        return {"states": np.full((2, 3), len(text), np.float32)}


def cache_of(tmp_path, clips, settings=SETTINGS, networks=NETWORKS, seed=3, variants=1):
    cache = LatentCache(tmp_path / "cache", settings, networks, seed, variants)
    cache.look_at(clips)
    return cache


def made(cache, clips):
    networks = Networks()
    bad = fill(cache, clips, networks.encode, networks.embed)
    return networks, bad


def test_each_clip_and_text_is_computed_once(tmp_path, clips):
    again = dataclasses.replace(clips[0], text="a bow")
    networks, bad = made(cache_of(tmp_path, clips, variants=2), [*clips, again])
    assert len(networks.encoded) == 2 * 3 and sorted(networks.embedded) == ["", "a bow", "a picture", "a wave"]
    assert bad == 0
    networks, _ = made(cache_of(tmp_path, clips, variants=2), [*clips, again])
    assert networks.encoded == networks.embedded == []


def test_making_goes_on_behind_what_is_there_and_replaces_what_is_damaged(tmp_path, clips):
    cache = cache_of(tmp_path, clips)
    made(cache, clips[:2])
    path = cache.path_of_clip(clips[1], 0)
    path.write_bytes(path.read_bytes()[:-8])
    networks, _ = made(cache, clips)
    assert networks.encoded == [str(clips[1].path), str(clips[2].path)]
    assert sorted(path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()) == [
        ".json", *[".safetensors"] * (3 + 4)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"networks": {**NETWORKS, "vae": "3"}},
        {"settings": dataclasses.replace(SETTINGS, video_sample_n_frames=8)},
        {"settings": dataclasses.replace(SETTINGS, video_sample_size=96)},
        {"settings": dataclasses.replace(SETTINGS, mask_kinds="all")},
        {"settings": dataclasses.replace(SETTINGS, enable_bucket=False)},
    ],
)
def test_files_of_other_settings_networks_or_seeds_are_not_read(tmp_path, clips, other):
    made(cache_of(tmp_path, clips), clips)
    with pytest.raises(MissingFileError, match="lacks the latents of 3 of 3 clips.*scripts.cache_latents"):
        cache_of(tmp_path, clips, **other).check(clips, 0.5)


def test_settings_that_change_no_file_share_them(tmp_path, clips):
    made(cache_of(tmp_path, clips), clips)
    settings = dataclasses.replace(SETTINGS, text_drop_ratio=0.5, video_repeat=4, token_sample_size=64)
    cache_of(tmp_path, clips, settings).check(clips, 0.0)


def test_clip_of_another_content_is_not_read_whatever_its_name(tmp_path, clips):
    made(cache_of(tmp_path, clips), clips)
    write_picture(clips[2].path, 96, 48, seed=9)
    cache = cache_of(tmp_path, clips)
    with pytest.raises(MissingFileError, match="lacks the latents of 1 of 3 clips: .*c.png"):
        cache.check(clips, 0.0)
    cache.check(clips, 0.4)
    clips[0].path.rename(tmp_path / "renamed.mp4")
    renamed = dataclasses.replace(clips[0], path=tmp_path / "renamed.mp4")
    cache_of(tmp_path, [renamed]).check([renamed], 0.0)


def test_clip_that_cannot_be_read_is_told_and_left_out(tmp_path, clips):
    clips[1].path.write_bytes(b"no video")
    told = []
    cache = cache_of(tmp_path, clips)
    networks = Networks()
    bad = fill(cache, clips, networks.encode, networks.embed, lambda clip, problem: told.append(problem))
    assert bad == 1 and told[0] is told[2] is None and "is not a video" in told[1]


def test_error_of_a_network_is_no_fault_of_the_clip(tmp_path, clips):
    def encode(batch):
        raise InputError("out of memory")

    with pytest.raises(InputError, match="out of memory"):
        fill(cache_of(tmp_path, clips), clips, encode, Networks().embed)


# Sizes that are drawn

# Clips of four shapes and sizes, and settings of which each draws something.
MANY = [
    CaptionedClip(Path(f"{number}.mp4"), "", number % 4 > 0, *size)
    for number, size in enumerate([(1280, 720), (600, 600), (720, 1280), (320, 200)] * 250)
]
DRAWN = {
    "random_hw_adapt": {"video_sample_size": 768, "image_sample_size": 1024},
    "random_ratio_crop": {},
    "random_frame_crop": {"video_sample_n_frames": 48},
    "training_with_video_token_length": {
        "random_hw_adapt": True, "video_sample_size": 256, "image_sample_size": 768, "token_sample_size": 512,
        "video_sample_n_frames": 48,
    },
    "keep_all_node_same_token_length": {
        "video_sample_size": 512, "token_sample_size": 512, "video_sample_n_frames": 48,
    },
}  # fmt: skip


def test_all_that_draws_is_tried():
    assert set(DRAWN) == set(OF_BATCHES)


@pytest.mark.parametrize("name", DRAWN)
def test_sizes_are_drawn_for_variants_as_they_are_for_batches(tmp_path, monkeypatch, name):
    settings = dataclasses.replace(SETTINGS, **{name: True, **DRAWN[name]})
    monkeypatch.setattr(FileFacts, "of", lambda self, path: str(path))  # no clip is there
    cache = cache_of(tmp_path, MANY, settings, variants=3)
    kept = Counter((clip.is_video, cache.size_of(clip, variant)) for clip in MANY for variant in range(3))
    samples = CaptionedSamples(MANY, 3000, 3, settings, 1, 1)
    drawn = Counter(samples._plan_batch(number)[1] for number in range(3000))
    assert len(drawn) > 4
    for size, count in drawn.items():
        part = sum(count for (_, other), count in kept.items() if other == size)
        assert abs(part - count) < 30 + 0.35 * count, size
    assert sum(kept.values()) == 3000 and {size for _, size in kept if kept[_, size] > 20} <= set(drawn)


def drawn_settings(**others):
    return dataclasses.replace(SETTINGS, random_ratio_crop=True, random_frame_crop=True, **others)


def test_batches_are_of_one_size_and_have_each_variant_once_in_as_many_epochs(tmp_path, clips):
    settings, variants = drawn_settings(), 6
    cache = cache_of(tmp_path, clips, settings, variants=variants)
    made(cache, clips)
    samples = CachedSamples(cache, clips, 36, 3, settings, 1, 1)
    assert samples.num_clips == 3 and len(samples) == 36
    shapes = [[np.array(samples[index]["cached"]["moments"]) for index in range(18)] for _ in range(2)]
    files = [load_arrays(cache.path_of_clip(clip, variant)) for clip in clips for variant in range(variants)]
    as_bytes = lambda arrays: sorted(array.tobytes() for array in arrays)  # noqa: E731
    assert as_bytes(shapes[0]) == as_bytes(shapes[1]) == as_bytes([file["moments"] for file in files])
    of_batches = CachedSamples(cache, clips, 80, 3, settings, 4, 4)
    sizes = []
    for number in range(20):
        batch = COLLATE([of_batches[4 * number + place] for place in range(4)])
        sizes.append((tuple(map(tuple, batch["pixels"])), batch["moments"].shape[2]))
        assert len(set(batch["pixels"][:, 0])) == 1 and batch["moments"].shape[0] == 4
    assert len(set(sizes)) > 2


def test_held_out_clips_count_once_each(tmp_path, clips):
    settings = drawn_settings()
    cache = cache_of(tmp_path, clips, settings, variants=4)
    made(cache, clips)
    samples = CachedSamples(cache, clips, 3, 3, settings, 1, 1, variants=1)
    assert sorted(samples[index]["clip"] for index in range(3)) == sorted(str(clip.path) for clip in clips)


@pytest.mark.parametrize(
    "other",
    [
        {"random_ratio_crop": False}, {"random_frame_crop": False}, {"random_hw_adapt": True},
        {"training_with_video_token_length": True}, {"token_sample_size": 64},
    ],
)  # fmt: skip
def test_files_of_other_draws_are_not_read(tmp_path, clips, other):
    cache = cache_of(tmp_path, clips, drawn_settings())
    made(cache, clips)
    with pytest.raises(MissingFileError, match="lacks the latents of 3 of 3 clips"):
        cache_of(tmp_path, clips, dataclasses.replace(drawn_settings(), **other)).check(clips, 0.5)


def test_files_of_clips_that_are_said_to_have_another_size_are_not_read(tmp_path, clips):
    made(cache_of(tmp_path, clips), clips)
    squares = [dataclasses.replace(clip, width=96, height=96) for clip in clips]
    with pytest.raises(MissingFileError, match="lacks the latents of 3 of 3 clips"):
        cache_of(tmp_path, squares).check(squares, 0.5)


@pytest.mark.parametrize("tokens", [64, 128, 256])
def test_small_batches_count_as_often_as_they_do_without_a_cache(tmp_path, clips, tokens):
    settings = dataclasses.replace(
        SETTINGS, training_with_video_token_length=True, random_frame_crop=True, token_sample_size=tokens
    )
    cache = cache_of(tmp_path, clips, settings, variants=2)
    given = []

    def encode(batch):
        given.append((batch["repeats"], batch["clips"]))
        return Networks().encode(batch)

    fill(cache, clips, encode, Networks().embed)
    collate, told = CachedCollate({"moments": 1, "masked": 1}, settings), []
    for clip in clips:
        for variant in range(2):
            sample = {"cached": load_arrays(cache.path_of_clip(clip, variant)), "text": "", "clip": str(clip.path)}
            told.append((collate([{**sample, "index": 0, "failures": []}])["repeats"], [str(clip.path)]))
    assert told == given
    assert max(repeats for repeats, _ in told) > 1 or tokens == 64


# Training with it


COLLATE = CachedCollate({"moments": 1, "masked": 1}, SETTINGS)


def samples_of(cache, clips, settings=SETTINGS, length=60):
    return CachedSamples(cache, clips, length, 3, settings, 2, 2)


def test_samples_have_what_is_kept_of_their_clip_and_text(tmp_path, clips):
    cache = cache_of(tmp_path, clips, variants=3)
    made(cache, clips)
    samples = samples_of(cache, clips)
    by_path = {str(clip.path): clip for clip in clips}
    starts = set()
    for index in range(40):
        sample = samples[index]
        clip, cached = by_path[sample["clip"]], sample["cached"]
        assert sample["text"] in ("", clip.text) and sample["failures"] == []
        assert (cached["states"] == len(sample["text"])).all()
        frames = cached["moments"].shape[1]
        assert frames == (16 if clip is clips[0] else 8 if clip is clips[1] else 1)
        if clip is clips[0]:
            numbers = numbers_of(cached["moments"].T[:, :, None, None])
            assert numbers == list(range(numbers[0], numbers[0] + 16))
            starts.add(numbers[0])
    assert 1 < len(starts) <= 3  # the variants
    assert json.dumps([samples[index]["clip"] for index in range(40)]) == json.dumps(
        [samples_of(cache, clips)[index]["clip"] for index in range(40)]
    )


def test_batch_is_cut_to_its_shortest_sample(tmp_path, clips):
    cache = cache_of(tmp_path, clips)
    made(cache, clips)
    samples = samples_of(cache, clips[:2])
    batch = COLLATE([samples[0], samples[1]])
    assert batch["moments"].shape == (2, 3, 8) and batch["masked"].shape == (2, 1, 8)
    assert batch["pixels"].shape == (2, 2) and batch["states"].shape == (2, 2, 3)
    assert batch["index"].tolist() == [0, 1] and len(batch["texts"]) == len(batch["clips"]) == 2


def test_damaged_file_is_counted_named_and_replaced(tmp_path, clips):
    cache = cache_of(tmp_path, clips)
    made(cache, clips)
    cache.path_of_clip(clips[0], 0).write_bytes(b"nothing")
    samples = samples_of(cache, clips[:2])
    batch = COLLATE([samples[0], samples[1]])
    assert len(batch["failures"]) >= 1 and all("a.mp4: " in failure for failure in batch["failures"])
    assert set(batch["clips"]) == {str(clips[1].path)}


def test_networks_are_known_by_the_content_of_their_files(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text("x")
    first = networks_of({"vae": paths})
    paths[1].write_text("y")
    assert networks_of({"vae": paths}) != first and networks_of({"vae": paths[:1]}) != first
