"""What clients are told of errors: words, without paths of the server, and what the page tells them by."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, one_line
from ppdiffusers_ext.server.refusals import WORDS, facts_of

_PATH = re.compile(r"(?<![\w.:/])(?:file://)?(?:/[^\s/:;,'\"()]+)+/?")  # absolute, as a message has it
_MOST = 2000


def without_paths(text: object, names: Mapping[Path, str] | None = None) -> str:
    """A text on one line in which paths are names.

    Args:
        text: anything.
        names: path of a file or folder -> what a client knows it as; of other absolute paths the last part stays.
    """
    words = str(text)
    for path, name in sorted((names or {}).items(), key=lambda pair: -len(str(pair[0]))):
        words = words.replace(str(path), name)
    return one_line(_PATH.sub(lambda found: Path(found[0]).name, words), _MOST)


def words_of(error: BaseException, names: Mapping[Path, str] | None = None) -> str:
    """Why something failed, as a client is told it.

    The words of errors that the input caused; of the system's errors the reason; of others, which are mistakes of the
    program, their kind: the log has them.
    """
    if isinstance(error, InputError):
        return without_paths(error, names)
    facts = facts_of(error)
    return WORDS[facts["code"]].format(**facts["values"])


def told_of(error: BaseException, names: Mapping[Path, str] | None = None) -> dict[str, Any]:
    """An error as a client is told it: {"error": words}, with {"code", "values"} where it has these."""
    facts = facts_of(error)
    if facts:
        facts["values"] = {name: _without_paths(value, names) for name, value in facts["values"].items()}
    return {"error": words_of(error, names), **facts}


def _without_paths(value: Any, names: Mapping[Path, str] | None) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None  # which JSON does not have
    if isinstance(value, (list, tuple)):
        return [_without_paths(each, names) for each in value]
    return without_paths(value, names) if isinstance(value, str) else value
