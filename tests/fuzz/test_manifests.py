"""What the library writes for itself and reads again: manifests of exports and checkpoints, indices, records.

Somebody may have edited them, a disk may have lost a part. An export is made anew, everything else is refused by name.
"""

import copy
import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st
from paddle import nn

from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.weights.checksums import Checksums, Record
from ppdiffusers_ext.weights.loading import load_tensors
from tests.support.fuzzing import bounded, fuzz, refused_or_read
from tests.support.special_files import KINDS, special

ODD = (
    *(
        0,
        -1,
        1,
        1.5,
        10**30,
        True,
        None,
        "",
        "x",
        "..",
        "../x",
        "/etc/passwd",
        "a\x00b",
        "C:\\x",
        "\x1b[31m",
        "x" * 5000,
    ),
    *([], {}, [1], {"a": 1}, [[[]]], "0" * 64, {"size": 1, "sha256": "0" * 64}, {"size": -1}),
)
VALUES = st.one_of(st.sampled_from(ODD), st.recursive(st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
PIECES = (b"{", b"}", b"[" * 3000, b'{"a":' * 500, b"9" * 5000, b"NaN", b"\xff", b"\0", b'"', b",", b":", b"null")


def places(value, above=()):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*above, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*above, key))


@st.composite
def damaged(draw, content):
    """Bytes in the place of a JSON file's: values changed, or the text cut, filled in, or something else."""
    kind = draw(st.sampled_from(["value"] * 6 + ["key", "key", "cut", "insert", "bytes"]))
    text = json.dumps(content).encode()
    at = draw(st.integers(0, len(text)))
    if kind == "cut":
        return text[:at]
    if kind == "insert":
        return text[:at] + draw(st.sampled_from(PIECES)) + text[at:]
    if kind == "bytes":
        return draw(st.binary())
    content = copy.deepcopy(content)
    *above, key = draw(st.sampled_from(list(places(content))))
    target = content
    for step in above:
        target = target[step]
    if kind == "key" and isinstance(target, dict):
        target[draw(st.sampled_from([odd for odd in ODD if isinstance(odd, str)]))] = target.pop(key)
    else:
        target[key] = copy.deepcopy(draw(VALUES))
    return json.dumps(content).encode()


# Exports


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    cache = ExportCache(tmp_path_factory.mktemp("cache"))
    cache.weights(nn.Linear(2, 3), "digest")
    return cache


def make_export(cache):
    if cache.find("key") is None:
        with cache.entry("key"), cache.write("key") as folder:
            (folder / "graph.onnx").write_bytes(b"a graph")
    return cache.folder_of("key") / "manifest.json"


MANIFEST = {"key": "key", "files": {"graph.onnx": {"size": 7, "digest": "0" * 32}}}


def test_export_is_found(cache):
    path = make_export(cache)
    assert cache.find("key") == path.parent
    assert json.loads(path.read_text()).keys() == MANIFEST.keys()


@fuzz(content=damaged(MANIFEST))
def test_manifest_of_an_export(cache, content):
    path = make_export(cache)
    path.write_bytes(content)
    with bounded():
        found = cache.find("key")
    assert found is None or json.loads(content)["files"] == {}  # of no files all are as they were
    assert found is not None or not path.parent.exists()
    cache.discard("key")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "graph.onnx"])
def test_export_with_something_in_the_place_of_a_file(cache, name, kind):
    path = make_export(cache).with_name(name)
    path.unlink()
    special(path, kind)
    with bounded():
        assert cache.find("key") is None
    assert not path.parent.exists()


INDEX = {"weight": {"file": "weights.bin", "offset": 0, "length": 24, "dtype": "float32", "shape": [2, 3]}}


@fuzz(content=damaged(INDEX))
def test_index_of_weights(cache, content):
    layer = nn.Linear(2, 3)
    folder, _ = cache.weights(layer, "digest")
    (folder / "weights.json").write_bytes(content)
    with bounded():
        _, index = cache.weights(layer, "digest")
    for stored in index.values():
        assert stored.file == "weights.bin"
        assert (
            stored.length == np.prod(stored.shape, dtype=int) * (8 if "64" in stored.dtype else 4)
            or stored.length < 25
        )


@fuzz(content=damaged({"identity": ["path", 1, 1], "digest": "0" * 32}))
def test_notes_of_digests(cache, tmp_path, content):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    digest = cache.digest_of_checkpoint(path)
    for note in (cache.folder / "digests").iterdir():
        note.write_bytes(content)
    with bounded():
        assert cache.digest_of_checkpoint(path) == digest


# Checkpoints of training


def save(folder):
    hidden = checkpoints.hidden_folder_of(folder, 3)
    hidden.mkdir(parents=True, exist_ok=True)
    (hidden / "weights.bin").write_bytes(b"weights")
    checkpoints.complete(hidden, checkpoints.folder_of(folder, 3), {"stage": 1}, 3)
    return checkpoints.folder_of(folder, 3)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return json.loads((save(tmp_path_factory.mktemp("run")) / "manifest.json").read_text())


@pytest.mark.parametrize("kind", ["manifest", "of no files"])
def test_manifest_of_a_checkpoint(tmp_path, manifest, kind):
    folder = save(tmp_path)
    base = manifest if kind == "manifest" else {**manifest, "files": {}}

    @fuzz(content=damaged(base))
    def run(content):
        (folder / "manifest.json").write_bytes(content)
        told = []
        with bounded():
            found = checkpoints.newest_valid(tmp_path, lambda path, problem: told.append(problem))
        assert (found is None) == bool(told)
        for problem in told:
            assert problem.isprintable() and len(problem) < 1500
        with refused_or_read():
            assert 0 <= checkpoints.step_of(folder) <= 10**12
        with refused_or_read():
            checkpoints.check_run(folder, {"stage": 1})

    run()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "weights.bin"])
def test_checkpoint_with_something_in_the_place_of_a_file(tmp_path, name, kind):
    folder = save(tmp_path)
    (folder / name).unlink()
    special(folder / name, kind)
    with bounded():
        assert checkpoints.problem_of(folder)
    if name == "manifest.json":
        for read in (checkpoints.step_of, lambda path: checkpoints.check_run(path, {})):
            with bounded(), pytest.raises(InputError, match="manifest"):
                read(folder)


# Indices of shards, and the record of downloads


@fuzz(content=damaged({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}, "metadata": {"total_size": 8}}))
def test_index_of_shards(tmp_path, content):
    for name, key in (("one", "a"), ("two", "b")):
        safetensors.numpy.save_file({key: np.zeros(1, np.float32)}, tmp_path / f"{name}.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(content)
    with refused_or_read():
        assert set(load_tensors(path)) == {"a", "b"}


RECORDS = {
    "version": 1,
    "files": {
        "a": {"size": 3, "sha256": "0" * 64, "source": "x", "trust": "registry", "date": "2024-01-01"},
        "b": {
            **{"size": None, "sha256": None, "source": "x", "trust": "first use", "date": "2024-01-01"},
            "members": {"c": {"size": 3, "sha256": "0" * 64}},
        },
    },
}


@fuzz(content=damaged(RECORDS))
def test_record_of_downloads(tmp_path, content):
    (tmp_path / "checksums.json").write_bytes(content)
    with refused_or_read():
        records = Checksums(tmp_path)
        for name in ("a", "b"):
            assert isinstance(records.get(name), (Record, type(None)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nothing"])
@pytest.mark.parametrize("name", ["checksums.json", "model.safetensors.index.json"])
def test_something_in_the_place_of_a_file(tmp_path, name, kind):
    special(tmp_path / name, kind)
    read = Checksums if name == "checksums.json" else lambda folder: load_tensors(folder / name)
    with bounded(), pytest.raises(InputError, match=name):
        read(tmp_path)
