"""People in pictures, and how poses will lie over a picture: what the worker shows before a run."""

import io

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.preprocess.videos import find_poses, write_aligned_skeletons
from ppdiffusers_ext.server import previews
from ppdiffusers_ext.server.catalogue import Catalogue
from ppdiffusers_ext.server.execution import Given, build
from ppdiffusers_ext.server.previews import Previews, find_people
from ppdiffusers_ext.server.running import animator_of
from ppdiffusers_ext.server.settings import ServerSettings
from tests.support.real_people import cartoon
from tests.support.server_models import write_dance

SETTINGS = ServerSettings(device="cpu")


@pytest.fixture
def task(tmp_path):
    """A `Task` of the small model in its picture's own size, with a video of 6 frames."""
    PIL.Image.fromarray(cartoon()).save(tmp_path / "me.png")
    write_dance(tmp_path / "dance.mp4")
    picture = Given(tmp_path / "me.png", "image")
    files = {"reference_image": picture, "driving_video": Given(tmp_path / "dance.mp4", "video", 6, 25.0)}
    options = {"model": "demo", "width": 384, "height": 384, "poses": "embedded"}
    return build("animate_anyone", options, files, tmp_path, Catalogue(SETTINGS), SETTINGS)


def pixels(content):
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


def test_the_alignment_that_is_shown_is_that_of_the_run(task, tmp_path):
    """Its skeleton is the one that the run draws, pixel for pixel, over the dimmed picture."""
    animator, job = animator_of(task), task.animation
    inputs, reference = animator.open(job), np.asarray(PIL.Image.open(task.files["reference_image"].path))
    PIL.Image.fromarray(reference).resize((384, 384)).save(tmp_path / "reference.png")
    shown = {frame: Previews().align(task, frame, tmp_path) for frame in (0, 5)}
    picture = open_frames(tmp_path / "reference.png")  # which the preview has written
    found = find_poses(inputs.source, picture, animator.estimator, job.track)
    write_aligned_skeletons(found, inputs.source, picture, tmp_path / "drawn", animator.style, job.align,
                            unseen=job.unseen_joints)  # fmt: skip
    dimmed = next(iter(picture)) // 2
    for frame, (facts, content) in shown.items():
        skeleton = np.asarray(PIL.Image.open(tmp_path / "drawn" / f"frame_{frame}.png"))
        assert np.array_equal(pixels(content), np.maximum(dimmed, skeleton))
        assert facts["is_exact"] and facts["frames"] == 6


def test_a_long_video_is_looked_at_in_fewer_frames_and_told_so(task, tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "MOST_FRAMES", 3)
    facts, _ = Previews().align(task, 5, tmp_path)
    assert not facts["is_exact"] and facts["of"] == 6 and 2 <= facts["frames"] <= 4


def test_poses_are_found_once_for_all_ways_to_align_them(task, tmp_path, monkeypatch):
    looks, shown = [], Previews()
    remembered = shown._remembered
    monkeypatch.setattr(shown, "_remembered", lambda key, find: remembered(key, lambda: looks.append(key) or find()))
    for frame in (0, 3):
        shown.align(task, frame, tmp_path)
    assert len(looks) == 2  # of the picture and of the video


def test_people_are_found_and_drawn(tmp_path):
    PIL.Image.fromarray(cartoon()).save(tmp_path / "me.png")
    found, content = find_people(tmp_path / "me.png", 0, "largest")
    (person,) = found["people"]
    left, top, right, bottom = person["box"]
    assert 0 <= left < right <= found["width"] and 0 <= top < bottom <= found["height"] and person["chosen"]
    assert PIL.Image.open(io.BytesIO(content)).size == (found["width"], found["height"])
    for frame, who, words in ((1, "largest", "frame is 1"), (0, "7", "person 7"), (0, "x", "person 'x'")):
        with pytest.raises(InputError, match=f"{words}.* accepted"):
            find_people(tmp_path / "me.png", frame, who)
