"""Which tensors of a checkpoint are meant, where a trainer put them below a name, or several dicts of them in a file.

The default is what the tools that wrote such files read for inference:

1. `state_dict`, as the originals of all three systems do. (MMEngine has the averaged weights there.)
2. the mean of the weights over training: `ema` (DiT), `params_ema` (BasicSR), `state_dict_ema` (timm), ...
3. the weights as trained: `model` (nanoGPT), `module` (DeepSpeed), `params`, ...
4. a dict of any other name, if it is the only one.

What belongs to an optimiser is never meant. Where this leaves a choice, the file is refused and the names are listed.
"""

import contextlib
import contextvars
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ppdiffusers_ext.errors import InputError, printable

logger = logging.getLogger(__name__)

_ORDER = (
    ("state_dict",),
    ("ema", "params_ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "model_state_dict_ema"),
    ("model", "module", "params", "model_state_dict", "net", "network", "weights"),
)
KNOWN = frozenset(name for names in _ORDER for name in names)
_OF_TRAINING = re.compile(r"optim|^opt$|sched|scaler|callback|hyper", re.IGNORECASE)
_MOST_DEPTH = 4  # names before that of a tensor
_MOST_DICTS = 1000  # that are looked at
_NAMED = 8  # dicts in a message
_CHOSEN: contextvars.ContextVar[str | None] = contextvars.ContextVar("checkpoint key", default=None)


@contextlib.contextmanager
def checkpoint_key(name: str | None) -> Iterator[None]:
    """Have `name` choose in all files that are read meanwhile; those that have their tensors at the top are read as
    they are, which a note says. None leaves the default.
    """
    token = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def chosen_key() -> str | None:
    """The name that `checkpoint_key` has choose; None for the default."""
    return _CHOSEN.get()


def select(
    content: Any, is_tensor: Callable[[Any], bool], path: str | os.PathLike, key: str | None = None
) -> dict[str, Any]:
    """The named tensors that are meant. A note says in which dict they are, unless it is the file's own.

    Args:
        content: dict, of dicts or of tensors; or of tensors whose names begin with that of a dict and a dot.
        is_tensor: whether a value is one.
        path: of the file, for messages.
        key: name of the dict, or names with dots between them; that of `checkpoint_key` if left out.

    Raises:
        InputError: there is no dict of the name; or no name is given, and there is no saying which is meant.
    """
    found = _dicts_in(content, is_tensor)
    if not found:
        return {}
    if set(found) == {""}:
        found = _groups_of(found[""], key or _CHOSEN.get()) or found
    asked = key if key is not None else _CHOSEN.get()
    if asked is None or (key is None and set(found) == {""}):
        chosen = _default(found, "", path)
    else:
        chosen = _asked(found, asked, path)
    if asked is not None and asked != chosen and not chosen.startswith(f"{asked}."):
        logger.info("%s has its tensors at the top, where the checkpoint key %s has no effect", path, printable(asked))
    elif chosen:
        others = [name for name in found if name != chosen]
        logger.info(
            "%s: the tensors of %s are read%s",
            path,
            printable(chosen, 100),
            f", not those of {_listed(others)}; --checkpoint-key chooses" if others else "",
        )
    return found[chosen]


def _asked(found: dict[str, dict[str, Any]], asked: str, path: str | os.PathLike) -> str:
    below = {name: tensors for name, tensors in found.items() if name == asked or name.startswith(f"{asked}.")}
    if not below:
        there = f"it has {_listed(found)}" if set(found) != {""} else "its tensors are at the top, without a key"
        raise InputError(f"checkpoint key {printable(asked, 100)} is not in {path}; {there}")
    return _default(below, asked, path)


def _dicts_in(content: dict[Any, Any], is_tensor: Callable[[Any], bool]) -> dict[str, dict[str, Any]]:
    """Names with dots between them, "" for the content itself -> each dict that holds tensors."""
    level, found = {"": content}, {}
    seen: set[int] = set()
    for _ in range(_MOST_DEPTH):
        below = {}
        for name, item in level.items():
            if id(item) in seen or len(seen) >= _MOST_DICTS:
                continue
            seen.add(id(item))
            if tensors := {key: value for key, value in item.items() if is_tensor(value)}:
                found[name] = tensors
            for key, value in item.items():
                if isinstance(value, dict) and type(key) is str and value:
                    below[f"{name}.{key}" if name else key] = value
        level = below
    return found


def _groups_of(tensors: dict[str, Any], key: str | None) -> dict[str, dict[str, Any]]:
    """The same of tensors in one dict, if all names begin with those of known dicts, or some with the key's."""
    tensors = {str(name): value for name, value in tensors.items()}
    firsts = {name.partition(".")[0] for name in tensors}
    if len(firsts) > 1 and firsts <= KNOWN:
        prefixes = sorted(firsts)
    elif key and any(name.startswith(f"{key}.") for name in tensors):
        prefixes = [key]
    else:
        return {}
    return {
        prefix: {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
        for prefix in prefixes
    }


def _default(found: dict[str, dict[str, Any]], above: str, path: str | os.PathLike) -> str:
    """The name of the dict that is meant, among those below a name."""
    others = {name: tensors for name, tensors in found.items() if name != above}
    others = {name: tensors for name, tensors in others.items() if not _OF_TRAINING.search(_next(name, above))}
    tops = {_next(name, above) for name in others}
    # A counter beside the dicts does not make the whole a dict of weights.
    if above in found and not tops & set(_ORDER[0]) and len(found[above]) > max(map(len, others.values()), default=0):
        return above
    chosen = _first(tops)
    if chosen is None:
        what = f"tensors of {_listed(found)}" if tops else "no tensors but those of an optimiser"
        raise InputError(f"weight file {path} holds {what}; --checkpoint-key with the name of one is needed")
    chosen = f"{above}.{chosen}" if above else chosen
    below = {name: tensors for name, tensors in others.items() if name == chosen or name.startswith(f"{chosen}.")}
    return chosen if set(below) == {chosen} else _default(below, chosen, path)


def _next(name: str, above: str) -> str:
    return name[len(above) + 1 if above else 0 :].partition(".")[0]


def _first(names: set[str]) -> str | None:
    """The name that goes before all others, or None."""
    if len(names) == 1:
        return next(iter(names))
    for order in _ORDER:
        if known := [name for name in order if name in names]:
            return known[0] if len(known) == 1 else None
    return None


def _listed(names: Iterable[str]) -> str:
    names = [printable(name or "its top", 60) for name in names]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
