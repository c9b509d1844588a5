"""What a job can be: for each system and mode, the files that it takes and the options that a client may give.

The options are those of the declarations (`pipelines.jobs.Job`, each system's `options`), without those that name
files or places of the server. REST, the page and the nodes make their forms from `Mode.fields`.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ppdiffusers_ext.errors import InputError, check_keys, shown
from ppdiffusers_ext.options import any_of, by_field, check_values, declaration, kind_of, option
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.pipelines.options import INPUT, MODEL
from ppdiffusers_ext.pipelines.presets import preset_names
from ppdiffusers_ext.pipelines.systems import SYSTEMS, get_system
from ppdiffusers_ext.preprocess import estimators
from ppdiffusers_ext.server.refusals import Refusal

DRIVING, POSES = "driving_video", "pose_video"
# Options that are the server's to give: where results go and what becomes of those that exist, where networks run.
_OF_SERVER = frozenset(
    "output overwrite skip_existing resume device vae_device ignore_memory test_cases transformer loras "
    "refinement".split()
)
_CODES: dict[type | None, str] = {int: "int", float: "float", bool: "bool", list: "list", tuple: "list"}
# What a job of a driving video says instead of the system's options.
_OF_JOBS = frozenset("fps resize seed".split())


@dataclass(frozen=True)
class Role:
    """What a file is for.

    Attributes:
        kinds: "image", "video" that are accepted.
        is_needed: True if there is no such job without it.
    """

    kinds: tuple[str, ...]
    is_needed: bool = True


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of the server's own."""

    model: str | None = option(
        None,
        help="name of the model",
        unset="the released one, or one that ships",
        group=MODEL,
        pattern=r"[\w.-]{1,80}",
        accepted="the name of one of the models that the server has",
    )
    loras: list = option(list, help="LoRA files that the server has, by name, each with its weight", group=MODEL)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How people are found and drawn, as the commands have it."""

    poses: str = option(
        estimators.AUTO,
        choices=estimators.CHOICES,
        help="networks that find people: dwpose, embedded (MediaPipe's, which ship with the package), or auto",
        group=INPUT,
    )
    no_hands: bool = option(False, help="draw no hands", group=INPUT)
    no_face: bool = option(False, help="draw no faces", group=INPUT)


@dataclass(frozen=True)
class Mode:
    """A way to use a system.

    Attributes:
        system, name: such as "animate_anyone" and "driving_video"; the files of a job say which it is.
        roles: role -> `Role`.
        sources: the dataclasses that declare the options, in the order in which they are shown.
        fields: option -> the dataclass's field that declares it (`options.declaration`, `options.kind_of`).
    """

    system: str
    name: str
    roles: Mapping[str, Role]
    sources: tuple[type, ...]
    fields: Mapping[str, dataclasses.Field]

    @property
    def options(self) -> type:
        """A dataclass of all options, for `options.by_field` and `options.check_values`."""
        return _options_class(self.system, self.name)

    def read(self, options: Any) -> dict[str, Any]:
        """The options that a client gave, by field name and without those of None.

        Raises:
            InputError: no mapping, names that are not known, or values that are not accepted.
        """
        if not isinstance(options, dict):
            raise InputError(f"options are {shown(options)}; names of options with their values are accepted")
        given, used = by_field(self.options, options, f"option of {self.system} with {self.name}")
        given = {name: value for name, value in given.items() if value is not None}
        for name in given:
            self._check(name, given, used)
        return given

    def _check(self, name: str, given: Mapping[str, Any], used: Mapping[str, str]) -> None:
        """Hold a value against its declaration. Raises `Refusal` by which the page tells it beside the field."""
        item = self.fields[name]
        declared, kind = declaration(item), kind_of(item)
        others = {other: given[other] for other in declared.excludes if other in given}
        try:
            check_values(self.options, {name: given[name], **others}, names=used)
        except InputError as error:
            code = "option.choice" if declared.choices else f"option.{_CODES.get(kind, 'str')}"
            bounds = {"min": declared.lower, "max": declared.upper}
            values = {"option": name, "value": shown(given[name]), **bounds, "choices": list(declared.choices)}
            raise Refusal.told(str(error), code, values) from error

    def of(self, source: type, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the options that are fields of one of the sources, which is the first that declares them."""
        return {name: value for name, value in given.items() if self._source_of(name) is source}

    def _source_of(self, name: str) -> type | None:
        for source in self.sources:
            if name in _names_of(source, self.name, self.system):
                return source
        return None


def _names_of(source: type, mode: str, system: str) -> list[str]:
    """The fields of a source that a client may give."""
    names = [item.name for item in dataclasses.fields(source)]
    of = SYSTEMS[system]
    if source is of.options and of.names_of_task is not None:
        names = of.names_of_task(mode)
    left_out = {"loras"} if source is ServerOptions and not has_loras(system) else set()
    left_out |= set() if source is ServerOptions else _OF_SERVER
    if mode == DRIVING and source is of.options:
        left_out |= _OF_JOBS
    declared = {item.name: declaration(item) for item in dataclasses.fields(source)}
    return [
        name
        for name in names
        if name not in left_out and declared[name].help and declared[name].has_flag and not declared[name].is_path
    ]


def _sources_of(system: str, mode: str) -> tuple[type, ...]:
    of = SYSTEMS[system]
    refinement = () if of.refinement is None else (of.refinement,)
    return (ServerOptions, *((Job, Drawing) if mode == DRIVING else ()), of.options, *refinement)


def has_loras(system: str) -> bool:
    """Whether LoRA files can be merged into a system's weights."""
    return any(item.name == "loras" for item in dataclasses.fields(SYSTEMS[system].options))


def _field_of(item: dataclasses.Field, system: str) -> dataclasses.Field:
    """A field as a client has it: a preset is one of those that ship, not a file."""
    if item.name != "preset":
        return item
    presets = preset_names("easy_animate" if system == "easy_animate" else "")
    declared = dataclasses.replace(declaration(item), choices=tuple(presets), help="speed at the cost of exactness")
    named: Any = dataclasses.field(default=item.default, metadata={"option": declared})
    named.name, named.type = item.name, item.type
    return named


@cache
def _options_class(system: str, mode: str) -> type:
    rows = []
    for item in mode_called(system, mode).fields.values():
        default: dict[str, Any] = (
            {"default_factory": item.default_factory} if item.default is dataclasses.MISSING else {}
        )
        default = default or {"default": item.default}
        rows.append((item.name, item.type, dataclasses.field(**default, metadata=dict(item.metadata))))
    return dataclasses.make_dataclass("Options", rows, kw_only=True)


_PICTURE, _VIDEO, _ANY = ("image",), ("video",), ("video", "image")
_ROLES = {
    DRIVING: {"reference_image": Role(_PICTURE), DRIVING: Role(_VIDEO)},
    POSES: {"reference_image": Role(_PICTURE), POSES: Role(_ANY)},
    "text": {},
    "pictures": {"start_image": Role(_PICTURE), "end_image": Role(_PICTURE, is_needed=False)},
    "video": {"video": Role(_VIDEO), "mask": Role(_ANY, is_needed=False)},
}


@cache
def modes_of(system: str) -> tuple[Mode, ...]:
    """The modes of a system, the usual one first. Raises InputError for a system that is not known.

    Beside the declared options, each takes "model" (a name of `Jobs.systems`), and easy_animate "loras": pairs of a
    name of `Jobs.systems` and a weight.
    """
    is_posed = get_system(system).is_posed
    return tuple(mode_called(system, name) for name in _ROLES if (name in (DRIVING, POSES)) == is_posed)


@cache
def mode_called(system: str, name: str) -> Mode:
    """The mode of a system by its name."""
    sources = _sources_of(system, name)
    fields: dict[str, dataclasses.Field] = {}
    for source in sources:
        items = {item.name: item for item in dataclasses.fields(source)}
        for each in _names_of(source, name, system):
            fields.setdefault(each, _field_of(items[each], system))
    return Mode(system, name, _ROLES[name], sources, fields)


def mode_of(system: Any, files: Any) -> Mode:
    """The mode that the roles of a job's files ask for.

    Raises:
        InputError: a system that is not known, roles that it does not have, or that are of different modes.
    """
    if not isinstance(system, str):
        raise InputError(f"system is {shown(system)}; {any_of(SYSTEMS)} is accepted")
    modes = modes_of(system)
    if not isinstance(files, dict):
        raise InputError(f"files are {shown(files)}; roles with ids of uploads are accepted")
    check_keys(files, list(dict.fromkeys(role for mode in modes for role in mode.roles)), f"file of {system}")
    fitting = [mode for mode in modes if set(files) <= set(mode.roles)]
    # Of several, the one that has no other needs than what is given; text needs nothing.
    complete = [mode for mode in fitting if _needed(mode.roles) <= set(files)]
    if not fitting:
        raise Refusal("role.together", roles=sorted(files), accepted=_accepted(modes))
    if not complete:
        missing = sorted(_needed(fitting[0].roles) - set(files)) if files else []
        if not missing:
            raise Refusal("role.none", accepted=_accepted(fitting))
        raise Refusal("role.missing", roles=missing, accepted=_accepted(fitting))
    return next((mode for mode in complete if files or not mode.roles), complete[0])


def _needed(roles: Mapping[str, Role]) -> set[str]:
    return {name for name, role in roles.items() if role.is_needed}


def _accepted(modes: Iterable[Mode]) -> str:
    return any_of(" with ".join(sorted(_needed(mode.roles))) or "nothing" for mode in modes)
