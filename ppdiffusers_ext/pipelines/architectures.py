"""Architectures of the published checkpoints, from which memory is planned before anything is downloaded.

`ppdiffusers_ext/architectures/SYSTEM/*.yaml` hold the options in the `config.json` files of these checkpoints, without
notes of the libraries that wrote them. A checkpoint is known by the name of its folder, wherever that is to lie.
"""

import copy
import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ppdiffusers_ext.errors import MissingFileError
from ppdiffusers_ext.files import check_name, read_yaml
from ppdiffusers_ext.weights.folders import read_config

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parents[1] / "architectures"


@functools.cache
def architectures(system: str) -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """Checkpoint -> file below its folder -> options of the network, for all published checkpoints of a system."""
    found = {}
    for path in sorted((FOLDER / system).glob("*.yaml")):
        values = read_yaml(path)
        found.update(dict.fromkeys(values["checkpoints"], values["configurations"]))
    return found


def planning_reader(system: str, tells: bool = True) -> Callable[[str | os.PathLike], dict[str, Any]]:
    """A function like `read_config`: for a file that does not exist, it returns what the published checkpoint's says.

    It raises as `read_config`, and MissingFileError for a file that neither exists nor is one of a published
    checkpoint, whose names it lists. Each checkpoint that is taken in this way is told in the log, unless `tells` is
    False.
    """
    told = set()

    def read(path: str | os.PathLike) -> dict[str, Any]:
        try:
            return read_config(path)
        except MissingFileError as error:
            published = _find(system, check_name(path, "model configuration", "a config.json is needed"))
            if published is None:
                names = ", ".join(architectures(system))
                raise MissingFileError(f"{error}, or the folder's name is that of a published one: {names}") from None
            name, options = published
            if tells and name not in told:
                logger.info("%s does not exist: what is planned is the published %s", path, name)
            told.add(name)
            return copy.deepcopy(options)

    return read


def _find(system: str, path: Path) -> tuple[str, dict[str, Any]] | None:
    """The name of the checkpoint that a path is one of, and the options in the file of that name."""
    file = path if path.suffix == ".json" else path / "config.json"
    if os.path.lexists(file) or os.path.islink(path):  # a link that leads nowhere
        return None
    for name, files in architectures(system).items():
        for place, options in files.items():
            tail = (name, *PurePath(place).parts)
            if file.parts[-len(tail) :] == tail:
                return name, options
    return None
