"""What ppdiffusers' `from_pretrained` becomes here: folders of this computer, read safely, that fit exactly.

`LocalConfigMixin` is for all that has a configuration (models, schedulers, pipelines), `StrictModelMixin` for models.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import paddle
from paddle import nn
from ppdiffusers.models.modeling_utils import ModelMixin

from ppdiffusers_ext.errors import InputError, check_keys, printable, shown
from ppdiffusers_ext.files import check_folder, read_json
from ppdiffusers_ext.models.option_rules import rules_of
from ppdiffusers_ext.weights.assignment import create, load_weights
from ppdiffusers_ext.weights.folders import find_weights

Model = TypeVar("Model", bound="StrictModelMixin")
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_NOTHING_IS_FETCHED = "nothing is downloaded here: `python scripts/download_weights.py` fetches released weights"


def local_folder(
    folder: str | os.PathLike,
    subfolder: str | None = None,
    accepted: str = "a folder as save_pretrained writes it is needed",
) -> Path:
    """The `Path` of a folder on this computer, for a `from_pretrained`.

    Args:
        folder: str or path.
        subfolder: of it, as a relative name without "..".
        accepted: the end of messages.

    Raises:
        MissingFileError: there is no such folder, whatever a download host may have under its name.
        InputError: it is no folder, or no name of one.
    """
    accepted = f"{accepted} ({_NOTHING_IS_FETCHED})"
    paths = []
    for what, path in (("folder", folder), *([] if subfolder in (None, "") else [("subfolder", subfolder)])):
        name = os.fspath(path) if isinstance(path, os.PathLike) else path
        if not isinstance(name, str) or not name:
            raise InputError(f"{what} {shown(path)} is no name of a folder; {accepted}")
        paths.append(name)
    path = check_folder(paths[0], "folder", accepted)
    for inner in paths[1:]:
        if Path(inner).is_absolute() or ".." in Path(inner).parts:
            raise InputError(f"subfolder {shown(inner)} is not within {path}; a relative name is accepted")
        path = check_folder(path / inner, "folder", accepted)
    return path


def dtype_name(dtype: str | paddle.dtype | None = None, paddle_dtype: str | paddle.dtype | None = None) -> str:
    """ "float32", "bfloat16" or "float16" of what a `from_pretrained` is given; float32 if that is nothing.

    Args:
        dtype: "fp32", "bf16" or "fp16", the longer name, or Paddle's.
        paddle_dtype: another name of that argument, which ppdiffusers has.

    Raises:
        InputError: another dtype, or two.
    """
    if dtype is not None and paddle_dtype is not None:
        raise InputError(f"dtype {shown(dtype)} and paddle_dtype {shown(paddle_dtype)} are given; one is accepted")
    given = dtype if paddle_dtype is None else paddle_dtype
    name = "fp32" if given is None else str(given).removeprefix("paddle.")
    name = _DTYPES.get(name, name)
    if name not in _DTYPES.values() or not (given is None or isinstance(given, (str, paddle.dtype))):
        raise InputError(f"dtype {shown(given)} is not known; use one of {', '.join(_DTYPES)}")
    return name


class LocalConfigMixin:
    """Stands before ppdiffusers' `ConfigMixin`: configurations come from folders of this computer alone."""

    config_name: str  # of `ConfigMixin`

    @classmethod
    def load_config(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        return_unused_kwargs: bool = False,
        return_commit_hash: bool = False,
        subfolder: str | None = None,
        **options: Any,
    ) -> Any:
        """The dict in the folder's file `config_name`; what else is returned is empty, as ppdiffusers has it.

        Raises:
            MissingFileError: there is no such folder or file.
            InputError: the file is no JSON object; an option that is not known.
        """
        check_keys(options, ("subfolder", "return_unused_kwargs", "return_commit_hash"), "option of load_config")
        folder = local_folder(pretrained_model_name_or_path, subfolder)
        config = read_json(
            folder / cls.config_name, "configuration", "a JSON object, as save_pretrained writes it, is"
        )
        if not isinstance(config, dict):
            raise InputError(
                f"configuration {folder / cls.config_name} holds {shown(config)}; a JSON object is needed"
            )
        more: tuple = ({},) if return_unused_kwargs else ()
        more += (None,) if return_commit_hash else ()
        return (config, *more) if more else config

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **options: Any) -> Any:
        """As ppdiffusers' of a dict; a name, which it takes for a model to download, raises InputError."""
        if not isinstance(config, dict):
            raise InputError(
                f"{shown(config)} is no configuration; a dict is accepted, such as {cls.__name__}.load_config(folder)"
            )
        return super().from_config(config, return_unused_kwargs, **options)  # type: ignore[misc]  # ConfigMixin's


class StrictModelMixin(LocalConfigMixin, ModelMixin):
    """ppdiffusers' `ModelMixin`, but files are local and read safely, and what does not fit is an error.

    On a CPU, half precision is storage only: arithmetic is in fp32 (see `ppdiffusers_ext.models.layers`).

    The options of the constructor are held against `option_rules` before anything is built: InputError, a ValueError.
    """

    _supports_gradient_checkpointing = True

    def register_to_config(self, **options: Any) -> None:
        # A constructor that is called by that of a derived class knows only some of the options.
        known = {name: value for name, value in getattr(self, "_internal_dict", {}).items() if name[0] != "_"}
        rules_of(type(self)).check({**known, **options}, type(self).__name__)
        super().register_to_config(**options)

    @staticmethod
    def _set_gradient_checkpointing(module: nn.Layer, value: bool = False) -> None:
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = value

    @classmethod
    def from_pretrained(
        cls: type[Model],
        folder: str | os.PathLike,
        subfolder: str | None = None,
        dtype: str | paddle.dtype | None = None,
        paddle_dtype: str | paddle.dtype | None = None,
        **options: Any,
    ) -> Model:
        """The model of a folder that `save_pretrained` wrote, in evaluation mode.

        Args:
            folder, subfolder: see `local_folder`.
            dtype, paddle_dtype: see `dtype_name`.
            options: of the constructor, which go before those in the folder's config.json.

        Raises:
            MissingFileError: there is no such folder, or not all files in it.
            InputError: files that are damaged or of another model; options that are not known or do not fit.
        """
        known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        check_keys(options, ["subfolder", "dtype", "paddle_dtype", *known], f"option of {cls.__name__}")
        dtype, path = dtype_name(dtype, paddle_dtype), local_folder(folder, subfolder)
        source, config = path / cls.config_name, cls.load_config(path)
        check_class(config, [base.__name__ for base in cls.__mro__ if issubclass(base, ModelMixin)], source)
        options = {**{name: value for name, value in config.items() if name in known}, **options}
        weights = find_weights(path)
        try:
            model = create(lambda: cls(**options), dtype)
        except InputError:
            raise
        except Exception as error:  # whatever is wrong with an option shows as anything in the constructor
            raise InputError(
                f"the options of {source} do not fit ({printable(error, 200)}); those of a {cls.__name__} are needed"
            ) from error
        load_weights(model, weights)
        if dtype != "float32":
            model.to(dtype=dtype)  # tables as well, which are made in fp32
        return model

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        save_function: Callable | None = None,
        max_shard_size: int | str = "10GB",
        safe_serialization: bool = True,
        variant: str | None = None,
        to_diffusers: bool | None = None,
        **options: Any,
    ) -> None:
        """As ppdiffusers', into a folder of this computer. Raises InputError for options that are not known."""
        given = {
            "is_main_process": is_main_process,
            "save_function": save_function,
            "max_shard_size": max_shard_size,
            "safe_serialization": safe_serialization,
            "variant": variant,
            "to_diffusers": to_diffusers,
        }
        check_keys(options, given, "option of save_pretrained")
        super().save_pretrained(str(save_directory), **given)


def check_class(config: dict[str, Any], names: Sequence[str], source: str | Path) -> None:
    """Raises InputError for a configuration that says it is of none of these classes."""
    name = config.get("_class_name", names[0])
    if not isinstance(name, str) or name not in names:
        raise InputError(f"{source} is of the class {shown(name)}; {', '.join(names)} is accepted")
