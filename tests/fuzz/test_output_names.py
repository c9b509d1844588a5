"""Outputs of any name, in any relation to each other and to what is read."""

import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import beside, check_outputs, output_file, output_folder
from ppdiffusers_ext.errors import InputError
from tests.support.fuzzing import bounded, fuzz

LETTERS = st.one_of(
    st.characters(),
    st.sampled_from([*"aA/.:-~%文éﬁİ💃\0\n", "..", "../", "e\u0301", "\ud800", "\udcff", "%s", "\x1b[31m"]),
)
PIECES = st.lists(LETTERS, max_size=12).map("".join)
NAMES = st.tuples(PIECES, st.one_of(st.just(1), st.integers(1, 300)), st.sampled_from(["", ".png", ".mp4", ".x"])).map(
    lambda name: name[0] * name[1] + name[2]
)
NEAR_THE_LIMIT = st.tuples(st.sampled_from(list("aé文💃")), st.integers(225, 262)).map(
    lambda name: name[0] * (name[1] // len(name[0].encode())) + ".png"
)


def everything_in(folder):
    return sorted(os.fsencode(path) for path in Path(folder).rglob("*"))


@fuzz(name=st.one_of(NAMES, NEAR_THE_LIMIT))
def test_name_is_refused_or_can_be_written(name):
    with bounded(), tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "deep" / "deeper"  # so that ../ stays within
        folder.mkdir(parents=True)
        before = everything_in(root)
        path = f"{folder}/{name.replace('../', '..')}"
        try:
            check_outputs([path, beside(path, "sheet.png")])
        except InputError as error:
            str(error).encode()  # it can be printed
            assert everything_in(root) == before
            return
        assert everything_in(root) == before
        for target in (path, beside(path, "sheet.png")):
            with output_file(target) as temporary:
                Path(temporary).write_bytes(b"complete")
        assert Path(path).read_bytes() == b"complete" == beside(path, "sheet.png").read_bytes()
        assert not [name for name in everything_in(root) if b".part" in name]


OF_ONE_FILE = st.sampled_from(["a.mp4", "./a.mp4", "x/a.mp4", "y/a.mp4", "l.mp4"])
SOURCES = st.sampled_from(["a.mp4", "x", "l.mp4", "x/a.mp4", "none"])


@fuzz(names=st.lists(st.one_of(NAMES, OF_ONE_FILE), max_size=5), sources=st.lists(SOURCES, max_size=3))
def test_outputs_that_are_accepted_are_different_files(names, sources):
    with bounded(), tempfile.TemporaryDirectory() as root:
        (Path(root) / "x").mkdir()
        (Path(root) / "y").symlink_to(Path(root) / "x")
        (Path(root) / "l.mp4").symlink_to(Path(root) / "a.mp4")
        for source in sources:
            with contextlib.suppress(OSError):
                (Path(root) / source).write_bytes(b"source")
        kept = {source: (Path(root) / source).read_bytes() for source in sources if (Path(root) / source).is_file()}
        paths = [f"{root}/{name.replace('../', '..')}" for name in names]
        try:
            check_outputs(paths, [f"{root}/{source}" for source in sources])
        except InputError:
            return
        for number, path in enumerate(paths):
            with output_file(path) as temporary:
                Path(temporary).write_text(str(number))
        assert [Path(path).read_text() for path in paths] == [str(number) for number in range(len(paths))]
        assert {source: (Path(root) / source).read_bytes() for source in kept} == kept


@fuzz(name=NAMES)
def test_folders_and_pictures_of_any_name(name):
    from PIL import Image

    with bounded(), tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "deep"
        folder.mkdir()
        path = f"{folder}/{name.replace('../', '..')}"
        with contextlib.suppress(InputError), output_folder(path) as temporary:
            (temporary / "a").write_bytes(b"complete")
        with contextlib.suppress(InputError):
            write_image(f"{path}.png", Image.new("RGB", (16, 16)))
        assert not [each for each in everything_in(root) if b".part" in each]
