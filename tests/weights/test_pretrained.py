"""ppdiffusers' and paddlenlp's own loaders: what they load stays the same, and nothing in a file is run."""

import os
import pickle
import shutil
import sys
import types

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import conversion_utils
from ppdiffusers import AutoencoderKL
from ppdiffusers.models import modeling_utils
from ppdiffusers.transformers import CLIPVisionModelWithProjection
from ppdiffusers.utils import smart_load

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.writing import write_torch
from tests.support.weight_files import Storage, torch_tensor
from tests.support.weight_files import write_torch as write_torch_content


@pytest.fixture
def sentinel(tmp_path):
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.fixture
def malicious(sentinel):
    class Malicious:
        def __reduce__(self):
            return os.system, (f"touch {sentinel}",)

    return Malicious()


@pytest.fixture(scope="module")
def saved(tmp_path_factory, make_vae, make_image_encoder):
    """class -> (model, its folder, the name of its weights as a pickle)."""
    models = {AutoencoderKL: make_vae(), CLIPVisionModelWithProjection: make_image_encoder()}
    folders = {}
    for cls, model in models.items():
        folder = tmp_path_factory.mktemp(cls.__name__)
        model.save_pretrained(str(folder), safe_serialization=False)
        assert (folder / "model_state.pdparams").is_file()
        folders[cls] = (model, folder)
    return folders


@pytest.mark.parametrize("cls", [AutoencoderKL, CLIPVisionModelWithProjection])
@pytest.mark.parametrize("safe", [True, False])
def test_saved_model_loads_with_its_values(tmp_path, saved, cls, safe):
    model, _ = saved[cls]
    model.save_pretrained(str(tmp_path), safe_serialization=safe)
    state, expected = cls.from_pretrained(str(tmp_path)).state_dict(), model.state_dict()
    assert list(state) == list(expected)
    assert [name for name in state if not bool((state[name] == expected[name]).all())] == []


def test_file_may_be_overwritten_by_the_model_that_was_loaded_from_it(tmp_path, saved):
    model, _ = saved[AutoencoderKL]
    model.save_pretrained(str(tmp_path), safe_serialization=True)
    loaded = AutoencoderKL.from_pretrained(str(tmp_path))
    loaded.save_pretrained(str(tmp_path), safe_serialization=True)
    again, expected = AutoencoderKL.from_pretrained(str(tmp_path)).state_dict(), model.state_dict()
    for state in (loaded.state_dict(), again):
        assert [name for name in state if not bool((state[name] == expected[name]).all())] == []


@pytest.mark.parametrize("cls", [AutoencoderKL, CLIPVisionModelWithProjection])
def test_pickle_that_runs_something_is_refused_by_from_pretrained(tmp_path, saved, malicious, cls):
    folder = tmp_path / "model"
    shutil.copytree(saved[cls][1], folder)
    (folder / "model_state.pdparams").write_bytes(pickle.dumps({"a": np.ones(2), "b": malicious}))
    with pytest.raises(InputError, match="model_state.pdparams is a pickle that wants to import posix.system"):
        cls.from_pretrained(str(folder))


@pytest.mark.parametrize("suffix", [".pdparams", ".bin", ".pth"])
def test_pickle_that_runs_something_is_refused_by_smart_load(tmp_path, malicious, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".pdparams":
        path.write_bytes(pickle.dumps({"b": malicious}))
    else:
        write_torch_content(path, {"b": malicious}, [])
    for load in (smart_load, modeling_utils.smart_load, conversion_utils.load_torch):
        with pytest.raises(InputError, match="wants to import posix.system"):
            load(str(path))


def test_loaders_of_torch_files_give_what_is_in_them(tmp_path):
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_torch(tmp_path / "a.bin", {"a": expected})
    path = str(tmp_path / "a.bin")
    np.testing.assert_array_equal(conversion_utils.load_torch(path)["a"], expected)
    np.testing.assert_array_equal(smart_load(path, return_numpy=True)["a"], expected)
    loaded = smart_load(path, return_is_torch_weight=True)
    assert isinstance(loaded["a"], paddle.Tensor)
    assert loaded["is_torch_weight"] is True


def test_transposed_tensor_of_a_torch_file_is_not_scrambled(tmp_path):
    # ppdiffusers' own reader takes strides of (1, n) for a matrix in Fortran's order of another shape.
    storage = Storage("FloatStorage", "0", np.arange(6, dtype=np.float32))
    write_torch_content(tmp_path / "a.bin", {"a": torch_tensor(storage, (3, 2), (1, 3))}, [storage])
    loaded = smart_load(str(tmp_path / "a.bin"), return_numpy=True)["a"]
    np.testing.assert_array_equal(loaded, np.arange(6).reshape(2, 3).T)


# Ways in which ppdiffusers and paddlenlp unpickle, by functions that are not replaced.
READS = {
    "paddle.load": "import paddle\ndef read(path): return paddle.load(path)",
    "paddle.load as numpy": "import paddle\ndef read(path): return paddle.load(path, return_numpy=True)",
    "pickle.load": "import pickle\ndef read(path): return pickle.load(open(path, 'rb'))",
    "pickle.loads": "import pickle\ndef read(path): return pickle.loads(open(path, 'rb').read())",
    "slow pickle": "import pickle\ndef read(path): return pickle._Unpickler(open(path, 'rb')).load()",
    "subclass": "import pickle\nclass Unpickler(pickle.Unpickler):\n    def find_class(self, module, name):\n"
    "        return super().find_class(module, name)\ndef read(path): return Unpickler(open(path, 'rb')).load()",
    "numpy": "import numpy\ndef read(path): return numpy.load(path, allow_pickle=True)",
    "joblib": "import joblib\ndef read(path): return joblib.load(path)",
    "partial": "import functools, pickle\ndef read(path): return functools.partial(pickle.load, open(path, 'rb'))()",
    "map": "import pickle\ndef read(path): return list(map(pickle.load, [open(path, 'rb')]))[0]",
}


def module_of(name, text):
    module = types.ModuleType(name)
    exec(text, vars(module))
    return module


@pytest.mark.parametrize("way", READS)
@pytest.mark.parametrize("name", ["ppdiffusers.utils.anything", "paddlenlp.trainer.anything", "paddlenlp"])
def test_whatever_a_library_unpickles_may_import_nothing(tmp_path, malicious, way, name):
    path = tmp_path / "state"
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps({"a": [1.0], "b": malicious}, protocol=protocol))
        with pytest.raises((InputError, pickle.UnpicklingError)) as caught:
            module_of(name, READS[way]).read(str(path))
        error = caught.value if isinstance(caught.value, InputError) else caught.value.__cause__  # as numpy has it
        assert "is a pickle that wants to import posix.system, which is refused" in str(error)


@pytest.mark.parametrize(
    "what", ["builtins eval", "os getcwd", "os path.join", "pickle loads", "tokenizers.decoders a.b"]
)
def test_functions_that_are_harmless_by_their_name_are_refused_too(tmp_path, what):
    path = tmp_path / "state"
    path.write_bytes(f"c{what.replace(' ', chr(10))}\n.".encode())
    with pytest.raises(InputError, match="wants to import"):
        module_of("ppdiffusers.anything", READS["pickle.load"]).read(str(path))


def test_states_of_numbers_are_read_by_the_libraries_as_before(tmp_path):
    state = {"step": 3, "moment": paddle.ones([2, 3]), "more": [1.5, "a", (2, None)], "half": np.float16(2)}
    paddle.save(state, str(tmp_path / "a.pdopt"))
    read = module_of("paddlenlp.anything", READS["paddle.load"]).read(str(tmp_path / "a.pdopt"))
    assert read["step"] == 3 and read["more"] == [1.5, "a", (2, None)] and bool((read["moment"] == 1).all())


def test_what_a_user_unpickles_is_none_of_our_business(tmp_path):
    path = tmp_path / "own"
    path.write_bytes(pickle.dumps({"where": os.path.join, "place": types.SimpleNamespace(a=1)}))
    for name in ("__main__", "somebody.else", "multiprocessing.connection"):
        assert module_of(name, READS["pickle.load"]).read(str(path))["where"] is os.path.join
    assert paddle.load(str(path))["place"].a == 1


def test_a_loader_that_is_imported_again_is_the_safe_one(tmp_path, malicious, monkeypatch):
    for name, loader in (
        ("ppdiffusers.utils.load_utils", "smart_load"),
        ("paddlenlp.utils.serialization", "load_torch"),
    ):
        monkeypatch.delitem(sys.modules, name)
        __import__(name)
        path = tmp_path / "a.pdparams"
        path.write_bytes(pickle.dumps({"b": malicious}))
        with pytest.raises(InputError, match="a.pdparams is a pickle that wants to import posix.system"):
            getattr(sys.modules[name], loader)(str(path))
