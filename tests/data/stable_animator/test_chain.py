"""What the data chain writes for training: folders of pictures and path lists that the checks and the trainer find."""

import pytest

from ppdiffusers_ext.data.chain.filtering import bounds_of, judge
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.data.stable_animator import chain
from ppdiffusers_ext.data.stable_animator.check import check_animation_clips
from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips

ROWS = [
    {"key": f"of {number}/dance_{number}.mp4", "clip_folder": f"animation_data/of {number}/0000{number}"}
    | {"width": 64, "height": 64 if number < 2 else 96}
    for number in range(3)
]


@pytest.fixture
def place(tmp_path):
    """A finished run of two clips as wide as high, and an upright one."""
    place = Place(tmp_path, tmp_path / "run")
    for number in range(3):
        write_animation_clips(place.output / "animation_data" / f"of {number}", 0, [number], 4, 32)
    lists = chain.finish(iter(ROWS), place)
    assert [path.name for path in lists] == ["video_rec_path.txt", "video_vec_path.txt"]
    return place


def test_every_clip_of_a_run_passes_the_check_of_training_data(place):
    lists = [place.output / "animation_data" / f"video_{name}_path.txt" for name in ("rec", "vec")]
    reports = check_animation_clips(lists, min_frames=4)
    assert [(report.problems, report.num_masks) for report in reports] == [((), 4)] * 3


def test_upright_clips_are_listed_on_their_own(place):
    found = find_animation_clips(place.output / "animation_data" / "video_vec_path.txt")
    assert [clip.images.parent.name for clip in found] == ["00002"]


def test_list_without_clips_is_not_written_and_an_earlier_one_goes(place):
    chain.finish(iter(ROWS[:2]), place)
    assert sorted(path.name for path in (place.output / "animation_data").glob("*.txt")) == ["video_rec_path.txt"]


@pytest.mark.parametrize(("people", "is_kept"), [((1, 1), True), ((1, 2), False), ((2, 2), False), ((0, 1), False)])
def test_clips_of_one_person_are_kept_and_no_others(people, is_kept):
    bounds = {name: bounds_of(values, name) for name, values in chain.PROFILE.thresholds["people"].items()}
    assert (judge(dict(zip(("people_median", "people_max"), people)), bounds) == []) == is_kept


def test_steps_of_its_own_run_by_default_and_draw_as_the_weights_were_trained():
    skeletons, faces = chain.PROFILE.own_steps(None)
    assert (skeletons.style, skeletons.folder) == ("stable_animator", "animation_data")
    assert [skeletons.name, faces.name] == [*chain.PROFILE.steps][-2:]
