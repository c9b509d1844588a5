"""ppdiffusers' and paddlenlp's own loaders: what they load stays the same, and nothing in a file is run."""

import os
import pickle
import shutil

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import conversion_utils
from ppdiffusers import AutoencoderKL
from ppdiffusers.models import modeling_utils
from ppdiffusers.transformers import CLIPVisionModelWithProjection

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.pretrained import secure
from ppdiffusers_ext.weights.writing import write_torch
from tests.weights.files import Storage, torch_tensor
from tests.weights.files import write_torch as write_torch_content

secure()
from ppdiffusers.utils import smart_load  # noqa: E402, I001 (as a module that is imported later does)


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
