"""The meta file of kept clips is what training reads, and captions have to come from somewhere."""

from types import SimpleNamespace

import pytest

from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.data.easy_animate.chain import META, PROFILE
from ppdiffusers_ext.data.easy_animate.clips import find_captioned_clips
from ppdiffusers_ext.errors import InputError


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "in", tmp_path / "out")


def row(place, key, caption):
    path = place.clips / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return {"key": key, "video": "a.mp4", "caption": caption, "width": 640, "height": 360}


def test_training_finds_the_clips_and_their_captions(place):
    rows = [row(place, "a_0.mp4", 'He says "no",\nand goes.'), row(place, "x y/b_1_2.mp4", "雪")]
    (path,) = PROFILE.finish(iter(rows), place, None)
    assert path == place.output / META
    clips = find_captioned_clips(path)
    assert [(clip.path, clip.text) for clip in clips] == [
        (place.clips / "a_0.mp4", 'He says "no",\nand goes.'),
        (place.clips / "x y/b_1_2.mp4", "雪"),
    ]
    assert all(clip.is_video and (clip.width, clip.height) == (640, 360) for clip in clips)


def test_without_a_kept_clip_there_is_no_meta_file(place):
    PROFILE.finish(iter([row(place, "a_0.mp4", "x")]), place, None)
    assert PROFILE.finish(iter([]), place, None) == () and not (place.output / META).exists()


@pytest.mark.parametrize(
    ("captioner", "captions", "names", "is_accepted"),
    [
        (None, None, ("split", "captions"), False),
        ("none", None, ("split", "captions"), True),
        (None, "captions.json", ("split", "captions"), True),
        (None, None, ("split",), True),
    ],
)
def test_captions_have_to_come_from_somewhere(captioner, captions, names, is_accepted):
    options = SimpleNamespace(captioner=captioner, captions=captions)
    if is_accepted:
        PROFILE.check(options, names)
        return
    with pytest.raises(InputError, match="--captioner URL --model NAME is accepted"):
        PROFILE.check(options, names)
