"""Files that hold less than their own tables promise are refused, wherever they are damaged."""

import numpy as np
import pytest

from ppdiffusers_ext.data import matroska as matroska_module
from ppdiffusers_ext.data import mp4
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.data.test_video import encode as encode_with
from tests.support.odd_videos import browser_webm, element, encode, matroska, packets_of, ramp

FRAMES = 12


def fragmented(path):
    options = {"movflags": "frag_keyframe+empty_moov"}
    return encode_with(path, ramp(FRAMES), container_options=options, stream_options={"g": "4"})


@pytest.mark.parametrize("mark, replaced", [
    (b"moof", b"mooe"), (b"traf", b"trae"), (b"trun", b"truo"), (b"tfhd", b"tfhe"), (b"mfhd", b"mfhe")])  # fmt: skip
@pytest.mark.parametrize("which", [0, 1, 2])
def test_fragment_that_is_not_recognised_is_missed(tmp_path, mark, replaced, which):
    path = fragmented(tmp_path / "a.mp4")
    content = path.read_bytes()
    places = [i for i in range(len(content)) if content.startswith(mark, i)]
    path.write_bytes(content[: places[which]] + replaced + content[places[which] + 4 :])
    with pytest.raises(InputError, match="a.mp4"):
        list(read_frames(path))


@pytest.mark.parametrize("table, place, change", [
    (b"stsz", 12, 5), (b"stsz", 12, 11), (b"stts", 11, 7), (b"stsc", 15, 3), (b"stco", 7, 0)])  # fmt: skip
def test_tables_of_mp4_that_contradict_each_other_are_refused(tmp_path, table, place, change):
    path = encode(tmp_path / "a.mp4", ramp(FRAMES))
    content = bytearray(path.read_bytes())
    begin = content.index(table) + 4
    content[begin + (11 if table == b"stsz" else place)] = change
    path.write_bytes(content)
    with pytest.raises(InputError, match="a.mp4"):
        list(read_frames(path))


@pytest.mark.parametrize("make", [
    lambda path: encode(path / "a.mkv", ramp(FRAMES), g=4),
    lambda path: encode(path / "a.webm", ramp(FRAMES), "libvpx", g=4),
    lambda path: browser_webm(path / "a.webm", ramp(FRAMES), [33 * i for i in range(FRAMES)], g=4),
], ids=["mkv", "webm", "browser"])  # fmt: skip
@pytest.mark.parametrize("name", [0xEC, 0xA7, 0xAB, 0xBF, 0xA2, 0x80, 0x00])
def test_block_of_another_name_is_missed(tmp_path, make, name):
    path = make(tmp_path)
    content, packets = bytearray(path.read_bytes()), packets_of(path)
    for index in (1, 5, 11):
        place = content.index(packets[index][0]) - 5
        while content[place] != 0xA3:  # the name of a simple block, before its size
            place -= 1
        path.write_bytes(content[:place] + bytes([name]) + content[place + 1 :])
        with pytest.raises(InputError, match="a.(mkv|webm)"):
            probe_video(path)


def test_frame_of_a_track_that_there_is_not_is_refused(tmp_path):
    coded = packets_of(encode(tmp_path / "b.webm", ramp(FRAMES), "libvpx"))
    path = matroska(tmp_path / "a.webm", b"V_VP8", (48, 32), coded)
    path.write_bytes(path.read_bytes().replace(b"\x81" + bytes(2) + b"\x80", b"\x85" + bytes(2) + b"\x80", 1))
    with pytest.raises(InputError, match="frames of a track 5, which there is not"):
        probe_video(path)


@pytest.mark.parametrize("lacing", [0x02, 0x04, 0x06])
@pytest.mark.parametrize("which", [1, 7, 11])
def test_block_that_is_said_to_hold_several_frames_is_refused(tmp_path, lacing, which):
    coded = packets_of(encode(tmp_path / "b.webm", ramp(FRAMES), "libvpx", g=4))
    path = matroska(tmp_path / "a.webm", b"V_VP8", (48, 32), coded)
    content = bytearray(path.read_bytes())
    content[content.index(coded[which][0]) - 1] |= lacing
    path.write_bytes(content)
    with pytest.raises(InputError, match="a.webm"):
        probe_video(path)


@pytest.mark.parametrize("is_live", [True, False])
def test_empty_space_and_unknown_sizes_are_no_damage(tmp_path, is_live):
    coded = packets_of(encode(tmp_path / "b.webm", ramp(FRAMES), "libvpx"))
    extra = [element(0xEC, bytes(100)), element(0x1254C367), element(0xEC, b"rest of what was here")]
    path = matroska(tmp_path / "a.webm", b"V_VP8", (48, 32), coded, is_live, extra=extra)
    assert probe_video(path).num_frames == len(list(read_frames(path))) == FRAMES


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.mkv", "libx264"),
                                         ("a.webm", "libvpx-vp9")])  # fmt: skip
def test_tables_promise_what_is_there(tmp_path, name, codec):
    path = encode(tmp_path / name, ramp(FRAMES), codec)
    read_track = mp4.read_track if path.suffix in (".mp4", ".mov") else matroska_module.read_track
    with open(path, "rb") as file:
        count, _ = read_track(file, 1 if read_track is mp4.read_track else 0)
    assert count == FRAMES


@pytest.mark.parametrize("seed", range(3))
def test_changed_matroska_loses_no_frame_without_a_word(tmp_path, seed, caplog):
    path = encode(tmp_path / "a.mkv", ramp(FRAMES, 16, 16), g=4)
    content, rng = path.read_bytes(), np.random.default_rng(seed)
    for _ in range(60):
        changed = bytearray(content)
        changed[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(changed)
        caplog.clear()
        try:
            info = probe_video(path)
        except InputError:
            continue
        assert info.num_frames == FRAMES or info.skipped
