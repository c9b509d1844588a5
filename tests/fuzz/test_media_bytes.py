"""Video files and animated pictures with bytes changed, removed, put in or cut off.

Whatever was done to a file, it is refused, or gives as many frames as probing said, of the shape that it said; and
where the format says how many frames there are, none of them is missing without a word.
"""

from fractions import Fraction

import av
import pytest
from hypothesis import strategies as st

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.support.fuzzing import EXAMPLES, bounded, fuzz, refused_or_read
from tests.support.odd_videos import animation, browser_webm, encode

FRAMES = 7
MAKERS = {
    "mp4": lambda path, frames: encode(path / "a.mp4", frames, g=3, bf=1),
    "mov": lambda path, frames: encode(path / "a.mov", frames, "mjpeg", "yuvj420p"),
    "fragments": lambda path, frames: fragmented(path / "a.mp4", frames),
    "mkv": lambda path, frames: encode(path / "a.mkv", frames, g=3),
    "uneven": lambda path, frames: encode(path / "a.mkv", frames, times=[0, 30, 90, 95, 200, 220, 400]),
    "webm": lambda path, frames: encode(path / "a.webm", frames, "libvpx-vp9", g=3),
    "browser": lambda path, frames: browser_webm(path / "a.webm", list(frames), [33 * i for i in range(FRAMES)], g=3),
    "gif": lambda path, frames: animation(path / "a.gif", frames, 40),
    "apng": lambda path, frames: animation(path / "a.png", frames, 40),
    "webp": lambda path, frames: animation(path / "a.webp", frames, 40, lossless=False),
}
# Of which one byte decides alone that frames are none: a mark that a picture is an entry (then a note says so), the
# length of an edit list; or that end where the file ends.
MAY_LOSE = ("mp4", "mov", "fragments", "mkv", "uneven", "webm", "browser")


def fragmented(path, frames):
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"g": "3"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Each kind's file: its path and its bytes."""
    frames, made = synthetic_clip(0, FRAMES, 32, 32).target, {}
    for kind, make in MAKERS.items():
        path = make(tmp_path_factory.mktemp(kind), frames)
        assert probe_video(path).num_frames == FRAMES
        made[kind] = path, path.read_bytes()
    return made


CHANGES = st.tuples(
    st.sampled_from(["set", "flip", "remove", "insert", "cut", "swap", "head"]),
    st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.binary(min_size=1, max_size=24),
)  # fmt: skip


def changed(content, changes):
    content = bytearray(content)
    for how, share, value, some in changes:
        place = int(share * (min(len(content), 700) if how == "head" else len(content)))
        if how == "cut":
            del content[place:]
        elif how == "remove":
            del content[place : place + len(some)]
        elif how == "insert":
            content[place:place] = some
        elif how == "swap":
            content[place : place + len(some)] = some
        elif content:
            content[place] = content[place] ^ (1 << value % 8) if how == "flip" else value
    return bytes(content)


@fuzz(kind=st.sampled_from(sorted(MAKERS)), changes=st.lists(CHANGES, min_size=1, max_size=3))
def test_changed_files_are_refused_or_give_what_probing_says(tmp_path, files, kind, changes):
    original, content = files[kind]
    path = tmp_path / original.name
    path.write_bytes(changed(content, changes))
    with refused_or_read():
        info = probe_video(path)
        assert 0 < info.fps <= 480 and info.duration > info.times[-1] and len(info.times) == info.num_frames
        if len(changes) == 1 and kind not in MAY_LOSE:
            assert info.num_frames == FRAMES
        frames = list(read_frames(path, info=info))
        assert {frame.shape for frame in frames} == {(info.height, info.width, 3)}
        assert len(frames) == info.num_frames
        last = info.num_frames - 1
        assert FrameReader(path).read([last]).shape == (1, info.height, info.width, 3)


@fuzz(examples=EXAMPLES // 4, kind=st.sampled_from(sorted(MAKERS)), changes=st.lists(CHANGES, min_size=1, max_size=2))
def test_ways_to_open_agree(tmp_path, files, kind, changes):
    original, content = files[kind]
    path = tmp_path / original.name
    path.write_bytes(changed(content, changes))
    found = []
    with bounded():
        for open_it in (lambda: probe_video(path).num_frames, lambda: len(FrameReader(path)),
                        lambda: open_frames(path).num_frames):  # fmt: skip
            try:
                found.append(open_it())
            except InputError:
                found.append(None)
    # A picture whose animation is damaged away, and whose first frame is not, is a picture.
    assert found[0] == found[1] and (found[2] == found[0] or (found[0] is None and original.suffix != ".mp4"))


HEADS = (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftypisom")


@fuzz(examples=EXAMPLES // 4, content=st.binary(max_size=300), head=st.sampled_from(HEADS))
def test_anything_is_refused(tmp_path, content, head):
    (tmp_path / "a.mp4").write_bytes(head + content)
    with refused_or_read():
        probe_video(tmp_path / "a.mp4")
