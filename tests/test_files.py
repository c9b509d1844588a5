"""Files that users name: whatever stands at a place, and whatever is in it, is read or refused by name."""

import os
import socket
import time
from pathlib import Path

import pytest

from ppdiffusers_ext import files
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.files import check_file, check_folder, check_name, parse_json, parse_yaml, read_json, read_yaml

ROOT = Path(__file__).parents[1]
WHAT = ("configuration", "a YAML file is needed")


def fifo(folder):
    os.mkfifo(folder / "x")
    return folder / "x"


def loop(folder):
    (folder / "x").symlink_to("y")
    (folder / "y").symlink_to("x")
    return folder / "x"


def dangling(folder):
    (folder / "x").symlink_to("nowhere")
    return folder / "x"


def bound_socket(folder):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "x"))
    return folder / "x"


def below_a_file(folder):
    (folder / "x").write_text("a: 1")
    return folder / "x" / "y.yaml"


NO_FILES = {
    "folder": (lambda folder: folder, "is a folder"),
    "pipe": (fifo, "is a pipe, a device"),
    "socket": (bound_socket, "special file"),
    "endless device": (lambda _: "/dev/zero", "special file"),
    "empty device": (lambda _: "/dev/null", "special file"),
    "loop of links": (loop, "Too many levels"),
    "link to nowhere": (dangling, "does not exist, where its link leads"),
    "nothing": (lambda folder: folder / "none.yaml", "does not exist"),
    "below a file": (below_a_file, "does not exist"),
    "long name": (lambda folder: folder / ("a" * 5000), "too long"),
    "long name in bytes": (lambda folder: folder / ("狗" * 86), "too long"),
    "long path": (lambda _: "a/" * 2500, "too long"),
    "nul": (lambda _: "a\0b", "is no file name"),
    "half of a character": (lambda _: "a\ud800", "is no file name"),
    "empty": (lambda _: "", "is no file name"),
    "number": (lambda _: 5, "is no file name"),
    "no name": (lambda _: None, "is no file name"),
    "escapes": (lambda folder: folder / "\x1b[2J\nerror: x", "does not exist"),
}


@pytest.mark.parametrize(("make", "words"), NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_readable_file_is_refused_at_once(tmp_path, make, words):
    path = make(tmp_path)
    start = time.monotonic()
    for read in (read_yaml, read_json, files.read_text, files.read_bytes):
        with pytest.raises(InputError) as error:
            read(path, *WHAT)
        assert words in str(error.value) and str(error.value).endswith("a YAML file is needed")
        assert str(error.value).isprintable() and len(str(error.value)) < 600
    assert time.monotonic() - start < 2


def test_pipe_that_comes_between_looking_and_reading_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "check_file", lambda path, *_: path)
    start = time.monotonic()
    assert files.read_bytes(fifo(tmp_path), *WHAT) == b""
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("name", ["nothing", "below a file", "link to nowhere"])
def test_missing_file_is_a_missing_file_error(tmp_path, name):
    with pytest.raises(MissingFileError):
        check_file(NO_FILES[name][0](tmp_path), *WHAT)


def test_file_that_this_user_may_not_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("a: 1")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read whatever the mode says
    with pytest.raises(InputError, match="x may not be read by this user; a YAML file is needed"):
        check_file(tmp_path / "x", *WHAT)
    with pytest.raises(InputError, match="may not be read by this user"):
        check_folder(tmp_path, *WHAT)


@pytest.mark.parametrize("name", ["nothing", "pipe", "endless device", "loop of links", "long name", "nul"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError):
        check_folder(NO_FILES[name][0](tmp_path), *WHAT)
    assert check_folder(str(tmp_path), *WHAT) == tmp_path


def test_names_are_held_to_what_can_be_written():
    assert check_name("a" * 255, *WHAT) == Path("a" * 255)
    assert check_name("\udcff.png", *WHAT) == Path("\udcff.png")  # a name that is no UTF-8, as Python gives it
    with pytest.raises(InputError, match="too long"):
        check_name("a" * 256, *WHAT)


def test_links_are_followed(tmp_path):
    (tmp_path / "x").write_text("a: 1")
    (tmp_path / "y").symlink_to("x")
    assert read_yaml(tmp_path / "y") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", r"not text in UTF-8 \(byte 0\)"),
        (b"a: \x80", r"not text in UTF-8 \(byte 3\)"),
        (b"a: 1\n" + b"#" * (512 << 10), "larger than 512 KiB"),
    ],
)
def test_what_is_no_text_or_too_long_is_refused(tmp_path, content, words):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_yaml(tmp_path / "x")


def test_byte_order_mark_is_left_out(tmp_path):
    (tmp_path / "x").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "x", *WHAT) == read_yaml(tmp_path / "x") == {"a": 1}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)
BAD_YAML = {
    "bomb": (BOMB, "alias"),
    "alias": ("a: &x 1\nb: *x", "alias"),
    "merged": ("a: &x {b: 1}\nc:\n  <<: *x", "alias"),
    "python": ("a: !!python/object/apply:os.getcwd []", "tag"),
    "tag": ("a: !!int abc", "tag"),
    "set": ("a: !!set {b, c}", "tag"),
    "twice": ("a: 1\na: 2", "'a' twice"),
    "twice inside": ("b: {a: 1, a: 2}", "'a' twice"),
    "key that is a list": ("? [a]\n: 1", "key"),
    "brackets": ("a: " + "[" * 3000, "too deep"),
    "braces": ("{a: " * 3000, "too deep"),
    "indents": "".join(f"{' ' * i}a:\n" for i in range(100)),
    "digits": ("a: " + "9" * 5000, "5000 digits"),
    "hexadecimal digits": ("a: 0x" + "f" * 5000, "5002 digits"),
    "nan": ("a: .nan", "number"),
    "infinite": ("a: 1e999", "number"),
    "nul": ('a: "b\\0c"', "text"),
    "raw nul": ("a: b\0c", "YAML"),
    "half of a character": ('a: "\\ud800"', "YAML"),
    "open bracket": ("a: [", "YAML"),
    "two documents": ("a: 1\n---\nb: 2", "YAML"),
}
BAD_YAML = {name: case if isinstance(case, tuple) else (case, "too deep") for name, case in BAD_YAML.items()}


@pytest.mark.parametrize(("text", "words"), BAD_YAML.values(), ids=BAD_YAML)
def test_yaml_that_is_no_plain_values_is_refused_at_once(text, words):
    start = time.monotonic()
    with pytest.raises(InputError, match="file x is not YAML that can be read") as error:
        parse_yaml(text, "file x", "other is needed")
    assert words in str(error.value) and len(str(error.value)) < 400
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("-.5", -0.5),
        ("yes", True),
        ("~", None),
        ("", None),
        # What YAML 1.1 takes for dates, numbers of base 60 and the like are texts, for people write them as such.
        ("30:60", "30:60"),
        ("2024-13-45", "2024-13-45"),
        ("2024-01-01", "2024-01-01"),
        ("0x_", "0x_"),
        ("08", "08"),
        ("1e", "1e"),
        ("=", "="),
        ("<<", "<<"),
        ("'1'", "1"),
    ],
)
def test_scalars_of_yaml(text, value):
    read = parse_yaml(text, "x", "y")
    assert read == value and type(read) is type(value)


BAD_JSON = {
    "deep": ("[" * 3000 + "]" * 3000, "deep"),
    "deep mappings": ('{"a":' * 60 + "1" + "}" * 60, "too deep"),
    "digits": ("9" * 5000, "5000 digits"),
    "nan": ("NaN", "number NaN"),
    "infinite": ("[1e999]", "too large"),
    "infinity": ("-Infinity", "number -Infinity"),
    "half of a character": ('"\\ud800"', "JSON"),
    "twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' twice"),
    "open": ("{", "JSON"),
    "empty": ("", "JSON"),
    "comment": ("{} // x", "JSON"),
}


@pytest.mark.parametrize(("text", "words"), BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_no_plain_values_is_refused(text, words):
    with pytest.raises(InputError, match="file x is not JSON that can be read") as error:
        parse_json(text, "file x", "other is needed")
    assert words in str(error.value)


def test_one_key_twice_among_many_is_found_at_once():
    text = "{" + ",".join(f'"{i}": 1' for i in range(200_000)) + ', "0": 2}'
    start = time.monotonic()
    with pytest.raises(InputError, match="'0' twice"):
        parse_json(text, "x", "y")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "kind"), [("- 1", "a list"), ("", "nothing"), ("words", "a text"), ("3", "one value")]
)
def test_yaml_file_that_is_no_mapping_is_refused(tmp_path, text, kind):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=f"x.yaml holds {kind}; "):
        read_yaml(tmp_path / "x.yaml")


SHIPPED = sorted(path for folder in ("configs", "ppdiffusers_ext") for path in (ROOT / folder).rglob("*.y*ml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_yaml_file_is_read(path):
    assert read_yaml(path)
