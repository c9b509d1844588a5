"""The models and LoRA files that jobs can name, and what of them is there. No client's path is ever one of them.

The folder of models has a folder for each system (animate_anyone, stable_animator, easy_animate) with YAML files as
`configs/inference` has them; that of easy_animate also folders of checkpoints. A name is that of a file without its
ending, or of a folder.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, MissingFileError, shown, suggestion
from ppdiffusers_ext.files import suffix_of
from ppdiffusers_ext.packaged import as_called
from ppdiffusers_ext.pipelines.options import CONFIGS
from ppdiffusers_ext.pipelines.published import PUBLISHED
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.server.modes import has_loras, modes_of
from ppdiffusers_ext.server.refusals import NoWeights, Refusal
from ppdiffusers_ext.server.settings import ServerSettings
from ppdiffusers_ext.server.words import told_of
from ppdiffusers_ext.weights.inventory import missing, select

WEIGHTS = "pretrained_weights"  # folder that scripts/download_weights.py fills
_LORAS = (".safetensors", ".pdparams", ".bin", ".pt", ".pth", ".ckpt")
_OWN = {"model", "loras"}  # options of the server's own, under names that systems have, too
_DEMO, _RELEASED = "demo", "released"


@dataclass(frozen=True)
class Model:
    """
    Attributes:
        name: as jobs have it.
        config: YAML file of the system's options.
        folder: of a checkpoint, that goes before the file's; None for the file's own.
        is_published: True for one whose weights are fetched by `scripts/download_weights.py`.
        is_demo: True for one that ships.
    """

    name: str
    config: Path
    folder: Path | None = None
    is_published: bool = False
    is_demo: bool = False


class Catalogue:
    """
    Args:
        settings: whose folders of models and LoRA files count.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._models = None if settings.models is None else Path(settings.models)
        self._loras = None if settings.loras is None else Path(settings.loras)

    def models(self, system: str) -> dict[str, Model]:
        """Name -> model of a system, the one that is meant where none is named first."""
        of, found = SYSTEMS[system], {}
        if of.config_file.parent != CONFIGS:  # a folder of its own, in which there are several
            for name in sorted((path.stem for path in of.config_file.parent.glob("*.yaml")), reverse=True):
                is_demo = name == _DEMO
                config = of.config_file.with_name(f"{name}.yaml")
                found[name] = Model(name, config, is_published=not is_demo, is_demo=is_demo)
        else:
            found[_RELEASED] = Model(_RELEASED, of.config_file, is_published=True)
            if of.demo_file is not None:
                found[_DEMO] = Model(_DEMO, of.demo_file, is_demo=True)
        for path in _entries(self._models and self._models / system):
            if path.is_file() and suffix_of(path) in (".yaml", ".yml"):
                found[path.stem] = Model(path.stem, path)
            elif path.is_dir() and has_loras(system):
                found[path.name] = Model(path.name, of.config_file, path)
        return found

    def model(self, system: str, name: str | None) -> Model:
        """A model by its name; where none is named, the released one, or if nothing of it is there one that ships.

        Raises InputError for a name that is not known.
        """
        known = self.models(system)
        if name is None:
            released = next(iter(known.values()))
            ships = [model for model in known.values() if model.is_demo and not self.problem(system, model)]
            return ships[0] if ships and not self._has_weights(system, released) else released
        if name not in known:
            raise Refusal("model", name=shown(name), system=system, near=suggestion(name, list(known)))
        return known[name]

    def _has_weights(self, system: str, model: Model) -> bool:
        """Whether any weights of a model are there: of those that are not complete, what is missing is told."""
        has_weights = SYSTEMS[system].has_weights
        if has_weights is None:
            return self.problem(system, model) is None
        return has_weights(self.config(system, model))

    def loras(self) -> dict[str, Path]:
        """Name -> LoRA file."""
        return {path.stem: path for path in _entries(self._loras) if path.is_file() and suffix_of(path) in _LORAS}

    def lora(self, name: Any) -> Path:
        """A LoRA file by its name. Raises InputError for one that is not known."""
        known = self.loras()
        if not isinstance(name, str) or name not in known:
            near = (
                suggestion(name, list(known)) if isinstance(name, str) and known else "one of its folder is accepted"
            )
            raise Refusal("lora", name=shown(name), near=near)
        return known[name]

    def config(self, system: str, model: Model) -> Any:
        """The configuration of a model as its file has it. Raises InputError."""
        given = {} if model.folder is None else {"model": str(model.folder)}
        return SYSTEMS[system].options.load(model.config, **given)

    def problem(self, system: str, model: Model) -> dict[str, Any] | None:
        """Why a model cannot be used, as `words.told_of` tells it; None where it can."""
        try:
            SYSTEMS[system].check_files(self.config(system, model))
        except InputError as error:
            return told_of(self.lack(system, model, error), self.names())
        return None

    def lack(self, system: str, model: Model, error: InputError) -> InputError:
        """What is told where files of a model are not there; of one that ships no command fetches them."""
        if not isinstance(error, MissingFileError):
            return error
        if model.is_demo:
            return NoWeights("model.demo", model=model.name, system=system)
        return NoWeights("model.missing", words=str(error), model=model.name, system=system)

    def names(self) -> dict[Path, str]:
        """Folders -> what messages name in their place."""
        folders = {"the folder of models": self._models, "the folder of LoRA files": self._loras}
        return {Path(os.path.abspath(path)): name for name, path in folders.items() if path is not None}

    def describe(self) -> dict[str, Any]:
        """See `Jobs.systems`."""
        found: dict[str, Any] = {}
        for system in SYSTEMS:
            models = [self._describe(system, model) for model in self.models(system).values()]
            found[system] = {
                "installed": True,
                "modes": [mode.name for mode in modes_of(system)],
                "models": models,
                "default": self.model(system, None).name,
            }
            if has_loras(system):
                found[system]["loras"] = sorted(self.loras())
        return found

    def _describe(self, system: str, model: Model) -> dict[str, Any]:
        problem = self.problem(system, model) or {"error": None}
        is_ready = problem["error"] is None
        lacking = [] if is_ready or not model.is_published else _missing(system)
        command = as_called(f"python scripts/download_weights.py --system {system}") if lacking else None
        return {
            "name": model.name,
            "ready": is_ready,
            "problem": problem["error"],
            "code": problem.get("code"),
            "values": problem.get("values", {}),
            "missing": lacking,
            "command": command,
            "is_demo": model.is_demo,
            "defaults": self._defaults(system, model),
        }

    def _defaults(self, system: str, model: Model) -> dict[str, Any]:
        """Options that count where a client gives none: those of a model's file; None is what its files decide."""
        known = {name for mode in modes_of(system) for name in mode.fields} - _OWN
        try:
            values = SYSTEMS[system].options.read(model.config)
        except InputError:  # which `problem` tells
            return {}
        if model.is_demo and SYSTEMS[system].is_posed:  # of the picture and the video, see `load_model_config`
            values |= dict.fromkeys(("width", "height", "num_frames"))
        return {name: value for name, value in values.items() if name in known}


def _missing(system: str) -> list[str]:
    """The published files of a system that are not there, below the folder of weights."""
    try:
        return missing(select(PUBLISHED, [system]), WEIGHTS)
    except InputError:  # checksums that are damaged, which the download tells
        return []


def _entries(folder: Path | None) -> list[Path]:
    """What lies in a folder, by names that a job can have; nothing of one that is not there."""
    try:
        return [] if folder is None else sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def check_loras(loras: Any, catalogue: Catalogue) -> list[list[Any]]:
    """Pairs of a file and a weight, of pairs of a name and a weight. Raises InputError."""
    accepted = "pairs of a name and a weight are accepted"
    pairs: list[list[Any]] = []
    for pair in loras if isinstance(loras, (list, tuple)) else [loras]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise InputError(f"loras has {shown(pair)}; {accepted}")
        pairs.append([str(catalogue.lora(pair[0])), pair[1]])
    return pairs
