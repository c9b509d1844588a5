"""From a job to a run: a system's options, as the commands build them. Nothing here imports Paddle.

The server builds a `Task` to check a job before it is queued, and the worker builds the same to run it (`running`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.jobs import Job, load_model_config
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.server.catalogue import Catalogue, Model, check_loras
from ppdiffusers_ext.server.modes import DRIVING, Drawing, Mode, mode_of
from ppdiffusers_ext.server.refusals import Refusal
from ppdiffusers_ext.server.settings import ServerSettings

NAME = "result"  # of the main result, in the folder of its job


@dataclass(frozen=True)
class Given:
    """A file of a job: its path, and its upload's kind ("image" or "video"), number of frames and rate."""

    path: Path
    kind: str
    frames: int = 1
    fps: float | None = None


@dataclass(frozen=True)
class Task:
    """What a job runs.

    Attributes:
        mode: its `Mode`.
        model: its `Model`.
        config: the system's options, checked.
        animation: the `Job` of `scripts.animate` where a driving video is given, or None.
        drawing: how its people are found and drawn.
        files: role -> `Given`.
    """

    mode: Mode
    model: Model
    config: Any
    animation: Job | None
    drawing: Drawing
    files: Mapping[str, Given]


def build(
    system: Any,
    options: Any,
    files: Mapping[str, Given],
    output: Path,
    catalogue: Catalogue,
    settings: ServerSettings,
) -> Task:
    """The `Task` of a job.

    Args:
        system: name.
        options: as a client gave them.
        files: role -> `Given`.
        output: folder that the results go to.
        catalogue: of models.
        settings: of the server.

    Raises:
        InputError, MissingFileError: values or files that are not accepted, or a model that is not there.
    """
    mode = mode_of(system, dict(files))
    for role, file in files.items():
        if file.kind not in mode.roles[role].kinds:
            names = {"image": "picture", "video": "video"}
            accepted = " or a ".join(names[kind] for kind in mode.roles[role].kinds)
            raise Refusal("role.kind", role=role, given=names[file.kind], accepted=accepted)
    given = mode.read(options)
    model = catalogue.model(mode.system, given.pop("model", None))
    own = {**mode.of(SYSTEMS[mode.system].options, given), "device": settings.device, "skip_existing": True}
    make = _posed_config if SYSTEMS[mode.system].is_posed else _task_config
    config, animation = make(mode, model, given, own, files, output, catalogue)
    try:
        SYSTEMS[mode.system].check_files(config)
    except InputError as error:
        raise catalogue.lack(mode.system, model, error) from error
    return Task(mode, model, config, animation, Drawing(**mode.of(Drawing, given)), files)


def _posed_config(
    mode: Mode,
    model: Model,
    given: dict[str, Any],
    own: dict[str, Any],
    files: Mapping[str, Given],
    output: Path,
    _: Catalogue,
) -> tuple[Any, Job | None]:
    paths = {role: str(file.path) for role, file in files.items()}
    animation = None
    if mode.name == DRIVING:
        inputs: dict[str, Any] = paths
        animation = Job(**inputs, output=str(output / f"{NAME}.mp4"), **mode.of(Job, given))
    else:
        is_folder = SYSTEMS[mode.system].writes_folder
        ending = ".png" if files[mode.name].kind == "image" else ".mp4"
        own |= {**paths, "output": str(output if is_folder else output / f"{NAME}{ending}")}
    refinement = SYSTEMS[mode.system].refinement
    if refinement is not None:
        own["refinement"] = mode.of(refinement, given)
    config, _is_small = load_model_config(
        mode.system, None if model.is_demo else model.config, own, paths["reference_image"], model.is_demo
    )
    config.check()
    if animation is None:
        config.check_inputs()
    else:
        animation.check_inputs()
    return config, animation


def _task_config(
    mode: Mode,
    model: Model,
    given: dict[str, Any],
    own: dict[str, Any],
    files: Mapping[str, Given],
    output: Path,
    catalogue: Catalogue,
) -> tuple[Any, None]:
    cls = SYSTEMS[mode.system].options
    own |= {role: str(file.path) for role, file in files.items()}
    own |= {} if model.folder is None else {"model": str(model.folder)}
    if given.get("loras"):
        own["loras"] = check_loras(given["loras"], catalogue)
    num_frames = cls.load(model.config, **own).num_frames
    own["output"] = str(output / f"{NAME}{'.png' if num_frames == 1 else '.mp4'}")
    config = cls.load(model.config, **own)
    config.check(mode.name)
    config.check_inputs()
    return config, None
