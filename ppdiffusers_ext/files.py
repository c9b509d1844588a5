"""Files that users name, held against what they may be before anything is read: the boundary of all text files.

A name may be impossible, may stand for a folder, a pipe or a device, and the content may be endless, nested without
end, or no text. Each of these is answered here, once, by the named error; so the readers of YAML and JSON, and those
of weights and media, need to know only what they are about.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import yaml

from ppdiffusers_ext.errors import InputError, MissingFileError, printable, shown, shown_path
from ppdiffusers_ext.packaged import located

_MOST_TEXT = 16 << 20  # bytes of a text file; larger ones have limits of their own
_MOST_YAML = 512 << 10  # which takes some two seconds
_MOST_DEPTH = 50  # of lists and mappings inside each other
_MOST_DIGITS = 1000
_MOST_REASON = 200  # characters of what a parser says
_MOST_OF_NAME, _MOST_OF_PATH = 255, 4095  # bytes, in Linux
_WORDS = {type(None): "nothing", list: "a list", str: "a text"}


def check_file(path: Any, what: str, accepted: str) -> Path:
    """The `Path` of a regular file that this user may read.

    Args:
        path: str or Path; below configs and assets also that of a file that ships (`packaged.located`).
        what: the kind of file as a message names it: "configuration", "weight file".
        accepted: the end of the message: "a YAML file is needed".

    Raises:
        MissingFileError: there is no such file.
        InputError: the name is impossible, or it is of a folder, a pipe, a device, or a file that may not be read.
    """
    path = Path(located(check_name(path, what, accepted)))
    status = _status_of(path, what, accepted)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{what} {shown_path(path)} is {_kind_of(status)}; {accepted}")
    _check_access(path, os.R_OK, what, accepted)
    return path


def check_folder(path: Any, what: str, accepted: str) -> Path:
    """The `Path` of a folder that this user may list; arguments and errors are those of `check_file`."""
    path = Path(located(check_name(path, what, accepted)))
    status = _status_of(path, what, accepted)
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{what} {shown_path(path)} is not a folder; {accepted}")
    _check_access(path, os.R_OK | os.X_OK, what, accepted)
    return path


def check_folder_to_be(path: Any, what: str, accepted: str) -> None:
    """Raise InputError for a name that no folder can have, or that something else has; there may be none yet.

    Arguments are those of `check_file`.
    """
    check_name(path, what, accepted)
    if os.path.exists(path) and not os.path.isdir(path):
        raise InputError(f"{what} {shown_path(path)} is no folder; {accepted}")


def check_name(path: Any, what: str, accepted: str) -> Path:
    """The `Path` of a name that a file can have, whether there is one or not. Raises InputError for any other."""
    try:
        text = os.fspath(path)
        encoded = os.fsencode(text)  # names that are no UTF-8 come from the system with marks that are encoded again
    except (TypeError, UnicodeEncodeError):
        encoded = b""
    if not isinstance(path, (str, os.PathLike)) or not encoded or b"\0" in encoded:
        raise InputError(f"{what} {shown(path)} is no file name; {accepted}")
    longest = max(map(len, encoded.split(b"/")))
    if longest > _MOST_OF_NAME or len(encoded) > _MOST_OF_PATH:
        raise InputError(
            f"{what} {shown_path(path)} is too long: up to {_MOST_OF_NAME} bytes between slashes, and "
            f"{_MOST_OF_PATH} in all, make a file name; {accepted}"
        )
    return Path(path)


def suffix_of(path: str | os.PathLike) -> str:
    """The suffix of a file's name, in small letters; none where a slash at the end says that it is a folder's."""
    return os.path.splitext(os.fspath(path))[1].lower()


def check_all_there(paths: Iterable[tuple[str, str | os.PathLike]], accepted: str) -> None:
    """Raise one MissingFileError that names all files and folders that are not there.

    Args:
        paths: list of (what the message calls it, str or Path); "" for the path alone.
        accepted: the end of the message, as that of `check_file`.
    """
    absent = [f"{what} {printable(path, 300)}".strip() for what, path in paths if not os.path.exists(located(path))]
    if absent:
        raise MissingFileError(f"{', '.join(absent)} {'do' if len(absent) > 1 else 'does'} not exist; {accepted}")


def _status_of(path: str | os.PathLike, what: str, accepted: str) -> os.stat_result:
    """What `os.stat` says of a file that is there."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        hint = ", where its link leads" if os.path.islink(path) else ""
        raise MissingFileError(f"{what} {shown_path(path)} does not exist{hint}; {accepted}") from None
    except OSError as error:  # a loop of links, a folder that may not be entered, a disk that fails
        raise _unreadable(path, what, accepted, error) from error


def _kind_of(status: os.stat_result) -> str:
    return "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or another special file"


def _check_access(path: Path, mode: int, what: str, accepted: str) -> None:
    if not os.access(path, mode):
        raise InputError(f"{what} {shown_path(path)} may not be read by this user; {accepted}")


def _unreadable(path: str | os.PathLike, what: str, accepted: str, error: OSError) -> InputError:
    return InputError(f"{what} {shown_path(path)} cannot be read ({error.strerror or error}); {accepted}")


def append(file: BinaryIO, line: bytes) -> None:
    """Write all of a line to a file without a buffer, of which a disk that is nearly full takes a part at first.

    Raises OSError where it takes no more.
    """
    while line:
        line = line[file.write(line) :]


def read_bytes(path: Any, what: str, accepted: str, most: int = _MOST_TEXT) -> bytes:
    """The content of a file of at most `most` bytes; the other arguments and errors are those of `check_file`."""
    path = check_file(path, what, accepted)
    try:
        # Some files of /proc, and a pipe that has come to this place meanwhile, would be waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise _unreadable(path, what, accepted, error) from error
    if content is None:
        raise InputError(f"{what} {shown_path(path)} cannot be read (it has nothing yet); {accepted}")
    if len(content) > most:
        raise InputError(f"{what} {shown_path(path)} is larger than {_size(most)}; {accepted}")
    return content


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def read_text(path: Any, what: str, accepted: str, most: int = _MOST_TEXT) -> str:
    """The text of a file in UTF-8, without a byte order mark; arguments and errors are those of `read_bytes`."""
    content = read_bytes(path, what, accepted, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {shown_path(path)} is not text in UTF-8 (byte {error.start}); {accepted}") from error


def read_json(path: Any, what: str, accepted: str, most: int = _MOST_TEXT, may_be_infinite: bool = False) -> Any:
    """What a JSON file holds: finite numbers (or infinite ones), lists and mappings of a bounded depth.

    Other arguments and errors are those of `read_bytes`; InputError also where it is not such JSON.

    Args:
        infinite: whether Infinity and -Infinity are numbers, which the options of some samplers are.
    """
    text = read_text(path, what, accepted, most)
    return parse_json(text, f"{what} {shown_path(path)}", accepted, may_be_infinite)


def parse_json(text: str, where: str, accepted: str, may_be_infinite: bool = False) -> Any:
    """As `read_json`, of a text. `where` is the beginning of the message: "configuration a.json"."""
    constant = _infinite if may_be_infinite else _refuse_constant
    try:
        values = json.loads(
            text,
            parse_constant=constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_without_duplicates,
        )
        _check_values(values)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON that can be read ({_reason(error)}); {accepted}") from error
    return values


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"it has the key {shown(name)} twice")
        values[name] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def _infinite(name: str) -> float:
    return _refuse_constant(name) if name == "NaN" else float(name)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.20}, which is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _check_values(values: Any, refused: str = "") -> None:
    """Refuse depth, and texts with `refused` or with halves of characters, which nothing can print or write."""
    level = [values]
    for _ in range(_MOST_DEPTH):
        for text in level:
            if isinstance(text, str):
                text.encode()
                if refused and refused in text:
                    raise ValueError(f"the text {shown(text, 40)}")
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in ([*item.keys(), *item.values()] if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise ValueError("it nests too deep")


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it nests too deep"
    return printable(" ".join(str(error).split()), _MOST_REASON)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # whichever is there
    """Plain values only. Numbers as people write them: 1e-5 is one, 30:60 and 2024-01-01 are texts.

    YAML 1.1 takes the first for a text, the second for 1860 (base 60), and the third for a date.
    """

    yaml_implicit_resolvers: dict = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for node_of_key, _ in node.value:
            key = self.construct_object(node_of_key, deep=True)
            if isinstance(key, (dict, list, set)):
                raise ValueError("a key that is a list or a mapping")
            if key in seen:
                raise ValueError(f"it has the key {shown(key)} twice")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", list("yYnNtTfFoO")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+|0o?[0-7]+|0b[01]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    octal = re.fullmatch(r"([-+]?)0o?([0-7]+)", text)
    return int(f"{octal[1]}{octal[2]}", 8) if octal else int(text, 0)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).replace("_", "")
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    value = float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.20}")
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def read_yaml(
    path: Any, what: str = "configuration", accepted: str = "a YAML file of keys and values is needed"
) -> Any:
    """The mapping in a YAML file. Nothing in it is executed; aliases, keys that stand twice and depth are refused.

    Arguments and errors are those of `read_text`; InputError also where it is not such YAML, or no mapping.
    """
    values = parse_yaml(read_text(path, what, accepted, _MOST_YAML), f"{what} {shown_path(path)}", accepted)
    if not isinstance(values, dict):
        raise InputError(f"{what} {shown_path(path)} holds {_WORDS.get(type(values), 'one value')}; {accepted}")
    return values


def parse_yaml(text: str, where: str, accepted: str) -> Any:
    """As `read_yaml`, of a text and for any value. `where` is the beginning of the message."""
    try:
        _check_events(text)
        values = yaml.load(text, _Loader)
        _check_values(values, refused="\0")  # of names and prompts, none has it
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where} is not YAML that can be read ({_reason(error)}); {accepted}") from error
    return values


def _check_events(text: str) -> None:
    """Refuse what would make a small file a large value, and tags, of which plain values need none.

    The parser's events come one by one, so that depth costs nothing.
    """
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"it has the alias *{event.anchor:.40}; a value is to be written where it stands")
        if getattr(event, "tag", None) not in (None, "!"):
            raise ValueError(f"it has the tag {event.tag:.60}; values without tags are read")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            raise ValueError("it nests too deep")
