"""What measures make of networks that rate clips; see tests.parity_image_text for the networks' numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.chain.aesthetics import Aesthetics
from ppdiffusers_ext.data.chain.consistency import Consistency
from ppdiffusers_ext.data.chain.match import Match
from ppdiffusers_ext.data.chain.network_files import AESTHETIC, CLIP, FILES, SIGLIP
from ppdiffusers_ext.data.chain.networks import Clip, in_batches
from ppdiffusers_ext.data.chain.steps import ClipFacts
from ppdiffusers_ext.errors import InputError, MissingFileError
from tests.data.chain.caption_clips import make_place, row_of
from tests.data.chain.small_networks import write_networks

FACTS = ClipFacts(num_frames=12, fps=5.0, width=44, height=30)


@pytest.fixture(scope="module")
def goldens(request):
    return request.config.rootpath / "tests/goldens/image_text"


@pytest.fixture(scope="module")
def weights(tmp_path_factory, goldens):
    return write_networks(tmp_path_factory.mktemp("weights"), goldens)


def frames_of(count, seed=0):
    random = np.random.RandomState(seed)
    return [random.randint(0, 256, (30, 44, 3)).astype(np.uint8) for _ in range(count)]


def measured(measure, frames, facts=FACTS):
    """The columns of a measure of a clip of some frames."""
    facts = replace(facts, num_frames=len(frames))
    watcher = measure.watch(row_of(), facts)
    for index in measure.choose(facts):
        watcher.see(index, frames[index])
    return watcher.columns()


def opened(measure):
    measure.check()
    measure.open(None)
    return measure


def test_frames_are_embedded_in_batches():
    sizes = []
    found = in_batches(lambda pixels: sizes.append(len(pixels)) or pixels[:, 0], [np.full(3, i) for i in range(10)], 4)
    assert sizes == [4, 4, 2] and found.tolist() == list(range(10))


def test_aesthetics_rates_four_frames_at_equal_distances(weights):
    measure = opened(Aesthetics(weights=str(weights), device="cpu"))
    frames = frames_of(12)
    columns = measured(measure, frames)
    assert columns["sample_frame_idx"] == [0, 3, 6, 9] and len(set(columns["aesthetic_score_siglip"])) == 4
    same = measured(measure, [frames[3]])
    assert same["sample_frame_idx"] == [0, 0, 0, 0]
    np.testing.assert_allclose(same["aesthetic_score_siglip"], [columns["aesthetic_score_siglip"][1]] * 4, atol=1e-4)
    assert all(round(score, 5) == score for score in columns["aesthetic_score_siglip"])


@pytest.mark.parametrize(
    ("keyframes", "chosen"),
    [((0,), [0, 5]), ((0, 9), [0, 5, 9]), ((0, 5), [0, 5]), ((0, 4, 11), [0, 4, 11]), ((0, 6), [0, 5, 6])],
)
def test_consistency_sees_keyframes_and_the_frame_after_a_second_if_they_come_later(keyframes, chosen):
    assert Consistency().choose(replace(FACTS, keyframes=keyframes)) == chosen
    assert Consistency().choose(replace(FACTS, num_frames=3)) == [0, 2]


def test_consistency_is_the_cosine_of_successive_frames(weights):
    measure = opened(Consistency(weights=str(weights), device="cpu"))
    one, other = frames_of(2)
    facts = replace(FACTS, keyframes=(0, 1, 2))
    columns = measured(measure, [one, one, other], facts)
    clip = Clip(weights / FILES[CLIP][0], "cpu")
    features = clip.images(np.stack([clip.prepare(one), clip.prepare(other)]))
    cosine = float(features[0] @ features[1])
    assert columns["sample_frame_idx"] == [0, 1, 2] and cosine < 0.999
    np.testing.assert_allclose(columns["similarity_cross_frame"], [1, cosine], atol=2e-5)
    assert columns["similarity_mean"] == pytest.approx((1 + cosine) / 2, abs=2e-5)
    many = measured(measure, frames_of(20), replace(FACTS, keyframes=tuple(range(20))))
    assert len(many["similarity_cross_frame"]) == 19
    with pytest.raises(InputError, match="one frame"):
        measured(measure, [one])


def test_match_is_the_cosine_of_frames_and_caption(weights, tmp_path):
    place = make_place(tmp_path, num_frames=10)
    step = opened(Match(weights=str(weights), device="cpu"))
    columns = step(row_of(caption="a dog runs"), place)
    assert columns["sample_frame_idx"] == [0, 1, 2, 3, 5, 6, 7, 8] and len(columns["clip_score"]) == 8
    assert all(-1 <= score <= 1 for score in columns["clip_score"])
    assert (
        step(row_of(caption="the dog's"), place) != columns and step(row_of(caption="A dog  runs"), place) == columns
    )
    with pytest.raises(InputError, match="no caption"):
        step(row_of(), place)


@pytest.mark.parametrize(
    ("step", "names"), [(Aesthetics, (SIGLIP, AESTHETIC)), (Consistency, (CLIP,)), (Match, (CLIP,))]
)
def test_missing_weights_are_told_with_the_command_that_fetches_them(tmp_path, step, names):
    with pytest.raises(MissingFileError) as caught:
        step(weights=str(tmp_path / "none")).check()
    command = " ".join(f"--only {name}" for name in names)
    assert f"download_weights.py {command} --dest {tmp_path / 'none'}`" in str(caught.value)
    assert str(caught.value).startswith(f"step {step.name} needs {names[0]}")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("vocab.json", "{}", "tokenizer"),
        ("vocab.json", "[1]", "tokenizer"),
        ("merges.txt", "#version: 0.2\nq z\n", "tokenizer"),
        ("config.json", json.dumps({"vision_config": {"hidden_size": 16, "num_attention_heads": 5}}), "heads"),
        ("config.json", json.dumps({"vision_config": 3}), "vision_config is no mapping"),
        ("model.safetensors", "", "model.safetensors"),
    ],
)
def test_damaged_files_are_told(tmp_path, goldens, file, content, words):
    folder = write_networks(tmp_path, goldens) / FILES[CLIP][0]
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=words):
        Clip(folder, "cpu", with_texts=True)


def test_settings_do_not_depend_on_where_networks_lie_and_run():
    for step in (Aesthetics, Consistency, Match):
        assert step(weights="a", device="cpu").settings() == step(weights="b", device="gpu").settings()
        assert step.is_network
