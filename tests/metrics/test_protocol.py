"""Protocols: what ships can be read and says what it assumes, and what a file of the user's own may not say."""

import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.protocol import FOLDER, Windows, protocol_names, read_protocol


@pytest.mark.parametrize("name", ["disco", "ours", "stable_animator"])
def test_shipped_protocol_is_complete(name):
    protocol = read_protocol(name)
    assert protocol.name == name and name in protocol_names()
    assert protocol.assumptions and list(protocol.distributions) == ["fid", "fid_vid", "fvd"]
    assert all(metric.network for metric in protocol.metrics() if metric.kind == "distribution")
    told = "\n".join(protocol.lines())
    for text in (protocol.title, *protocol.assumptions, *(each.network for each in protocol.distributions.values())):
        assert text in told


def test_papers_clips_are_every_run_of_16_frames():
    windows = read_protocol("disco").distributions["fvd"]
    assert (windows.clip_length, windows.stride) == (16, 1)
    assert [windows.count(frames) for frames in (1, 15, 16, 17, 64)] == [0, 0, 1, 2, 49]
    assert [Windows("", "", 16, 8).count(frames) for frames in (15, 16, 23, 24)] == [0, 1, 1, 2]


def changed(tmp_path, *keys, value):
    """The protocol disco in a file of its own with one value changed."""
    values = yaml.safe_load((FOLDER / "disco.yaml").read_text())
    place = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
    return str(tmp_path / "own.yaml")


def test_file_of_ones_own_is_a_protocol(tmp_path):
    protocol = read_protocol(changed(tmp_path, "truth", "size", value=[512, 512]))
    assert (protocol.name, protocol.truth.size) == ("own", (512, 512))
    assert protocol.paired == read_protocol("disco").paired


@pytest.mark.parametrize(
    "keys, value, message",
    [
        (("surprise",), 1, "unknown key in protocol .*surprise"),
        (("average",), "videos", "average in protocol .* is 'videos'; frames or clips is accepted"),
        (("truth", "crop"), "left", "none or centre_square"),
        (("truth", "size"), [256], r"\[width, height\]"),
        (("truth", "size"), [256, 4], "from 64 to 8192"),
        (("truth", "filter"), "none", "with a size one of"),
        (("paired",), ["disco_ssin"], "did you mean 'disco_ssim'"),
        (("paired",), ["fid"], "unknown metric of paired"),
        (("distributions", "fvd", "clip_length"), 8, "a whole number from 9"),
        (("distributions", "fid", "clip_length"), 16, "from 1 to 1"),
        (("distributions", "fvd", "network"), "inception_fid", "i3d_fvd or i3d_videogpt"),
        (("distributions", "fid_vid", "preparation"), "styleganv", "disco is accepted"),
        (("bootstrap", "level"), 95, "between 0 and 1"),
        (("bootstrap", "samples"), -1, "from 0"),
        (("assumptions",), "none", "a list of texts"),
        (("title",), 3, "text is accepted"),
    ],
)
def test_what_a_protocol_may_not_say_is_named(tmp_path, keys, value, message):
    with pytest.raises(InputError, match=message):
        read_protocol(changed(tmp_path, *keys, value=value))


def test_missing_key_is_named(tmp_path):
    (tmp_path / "own.yaml").write_text("title: x\n")
    with pytest.raises(InputError, match="has no key compares_with, which is needed"):
        read_protocol(str(tmp_path / "own.yaml"))


def test_unknown_protocol_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="no protocol 'disko'; did you mean 'disco'"):
        read_protocol("disko")


def test_texts_of_a_file_are_printed_without_what_a_terminal_obeys(tmp_path):
    text = (FOLDER / "ours.yaml").read_text()
    title = next(line for line in text.splitlines() if line.startswith("title:"))
    (tmp_path / "own.yaml").write_text(
        text.replace(title, 'title: "a\\e[31m\\nnot measured: x"').replace("0.95", "0.999")
    )
    lines = read_protocol(str(tmp_path / "own.yaml")).lines()
    assert lines[0] == "protocol own: a\\x1b[31m not measured: x" and any("99.9%" in line for line in lines)
