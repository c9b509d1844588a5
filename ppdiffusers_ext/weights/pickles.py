"""Reads the pickles of checkpoints without running them.

A pickle is a program for a small machine that can call any function of any module. This is another such machine, which
knows only what checkpoints are made of: numbers, text, containers, and the names in `vocabulary`. It imports nothing,
does not recurse, and its work and memory are in proportion to the file. Large values are not copied: they stay views
of the file's bytes.

Python's own `pickle.Unpickler` with a `find_class` that refuses is not enough: a few bytes make it allocate gigabytes
(a memo with a huge index), and it copies every tensor and holds on to all copies until the end.
"""

import codecs
import collections
import pickle
import struct
from collections.abc import Callable, Iterable
from typing import Any

from ppdiffusers_ext.weights.vocabulary import GLOBALS, Array, Dtype, Global, Storage, Text

_MAX_OPERATIONS = 2_000_000  # a checkpoint has about 20 for each tensor; each takes some hundred bytes at most
_MAX_DEPTH = 100
_MAX_LINE = 1 << 16  # bytes of a line or an integer
_MAX_NAME = 512  # bytes; a longer text may be a tensor
_MAX_ARGUMENTS = 16
_MAX_KEY = 1 << 53  # beyond, integers can be chosen that all have one hash


class RefusedImport(pickle.UnpicklingError):
    """The pickle names something that is not in the vocabulary."""


class Machine:
    """Reads pickles from `data`, one `run` after the other.

    position: in bytes, behind what has been read.
    done: operations, of all pickles together.
    storages: key -> `Storage`, all torch storages that were mentioned.
    """

    def __init__(self, data: Any, position: int = 0) -> None:
        self.data = data
        self.position = position
        self.done = 0
        self.storages: dict = {}
        self.stack: list = []
        self.marks: list = []
        self.memo: dict = {}

    def run(self) -> Any:
        """What the next pickle describes, in plain values, `Array` and `TorchTensor`.

        Raises:
            RefusedImport: it names something that is not in the vocabulary.
            Exception: it is damaged; of what kind, depends on where.
        """
        self.stack, self.marks, self.memo = [], [], {}
        while (operation := self.take(1)[0]) != pickle.STOP[0]:
            if operation not in _OPERATIONS:
                raise ValueError(f"a pickle with the operation 0x{operation:02x}")
            self.count(1)
            _OPERATIONS[operation](self)
        value = self.stack.pop()
        _check_depth(value)
        return value

    def count(self, work: int) -> None:
        self.done += work
        if self.done > _MAX_OPERATIONS:
            raise ValueError("a pickle of too many operations")

    def take(self, count: int) -> Any:
        end = self.position + count
        if end > len(self.data):
            raise ValueError("a pickle that ends too early")
        taken, self.position = self.data[self.position : end], end
        return taken

    def number(self, count: int, signed: bool = False) -> int:
        if count > _MAX_LINE:
            raise ValueError("a pickle with an endless number")
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self) -> bytes:
        for length in (_MAX_NAME, _MAX_LINE):
            window = bytes(self.data[self.position : self.position + length])
            end = window.find(b"\n")
            if end >= 0:
                self.position += end + 1
                return window[:end]
        raise ValueError("a pickle with an endless line")

    def text(self, count: int, encoding: str = "utf-8") -> Any:
        raw = self.take(count)
        return str(raw, encoding, "surrogatepass") if count <= _MAX_NAME else Text(raw, encoding)

    def since_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop_two(self) -> tuple[Any, Any]:
        second, first = self.stack.pop(), self.stack.pop()
        return first, second

    def pack(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def extend(self, items: Iterable[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("a pickle that appends to what is no list")
        self.stack[-1].extend(items)

    def update(self, items: Any) -> None:
        if type(self.stack[-1]) not in (dict, collections.OrderedDict):
            raise ValueError("a pickle that puts entries into what is no dict")
        self.stack[-1].update(_dict_of(items))

    def find(self, module: Any, name: Any) -> Any:
        found = GLOBALS.get((module, name)) if type(module) is type(name) is str else None
        if found is None:
            raise RefusedImport(f"{module}.{name}"[:200] if type(module) is type(name) is str else "what has no name")
        return found

    def call(self) -> None:
        function, arguments = self.pop_two()
        if not isinstance(function, Global) or function.build is None:
            raise ValueError("a pickle that calls what is no function")
        if type(arguments) is not tuple or len(arguments) > _MAX_ARGUMENTS:
            raise ValueError("a pickle that calls a function with what are no arguments")
        self.count(sum(len(argument) for argument in arguments if type(argument) in (list, tuple)))
        self.stack.append(function.build(*arguments))

    def set_state(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, (Array, Dtype)):
            target.fill(state)
        elif type(target) is not collections.OrderedDict:  # torch gives it an attribute, the versions of layers
            raise ValueError("a pickle that sets the state of what has none")

    def refer(self) -> Any:
        reference = self.stack.pop()
        if type(reference) is not tuple or len(reference) not in (5, 6):
            raise ValueError("a pickle with an unknown reference")
        kind, storage, key, _, _, *view = reference
        if kind != "storage" or type(key) is not str or not isinstance(storage, Global) or storage.dtype is None:
            raise ValueError("a pickle with an unknown reference")
        if any(part is not None for part in view):
            raise ValueError("a pickle with a view of a storage, as torch before 0.4 wrote it")
        self.storages[key] = Storage(storage.dtype, key)
        return self.storages[key]

    def remember(self, index: int) -> None:
        if not 0 <= index < _MAX_KEY:
            raise ValueError("a pickle that remembers at an impossible place")
        self.memo[index] = self.stack[-1]


def _check_depth(value: Any) -> None:
    """Refuse what nests so deep that looking at it might overflow the stack. A thing may hold itself."""
    level = {id(value): value}
    seen: set[int] = set()
    for _ in range(_MAX_DEPTH):
        level = {key: item for key, item in level.items() if key not in seen and isinstance(item, (dict, list, tuple))}
        if not level:
            return
        seen.update(level)
        level = {
            id(inner): inner
            for item in level.values()
            for inner in ([*item.keys(), *item.values()] if isinstance(item, dict) else item)
        }
    raise ValueError("a pickle that nests too deep")


def _integer_of_line(machine: Machine) -> int:
    line = machine.line()
    if line in (b"00", b"01"):  # how the first protocol writes booleans
        return line == b"01"
    if len(line) > 1000:
        raise ValueError("a pickle with an endless number")
    return int(line.removesuffix(b"L"))


def _quoted_text(machine: Machine) -> str:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a pickle with a text without quotes")
    return _short(codecs.escape_decode(line[1:-1])[0].decode("latin1"))


def _short(text: str) -> str:
    # A longer one may be a tensor, which the protocols with binary texts are read for.
    if len(text) > _MAX_NAME:
        raise ValueError("a pickle of protocol 0 with a long text")
    return text


def _name_of_lines(machine: Machine) -> tuple[str, str]:
    return machine.line().decode("utf-8"), machine.line().decode("utf-8")


def _is_key(value: Any) -> bool:
    # Hashing a tuple of tuples of ... can take for ever.
    return type(value) in (str, bool, type(None)) or (type(value) is int and abs(value) < _MAX_KEY)


def _dict_of(items: list[Any]) -> dict[Any, Any]:
    if not all(_is_key(key) for key in items[::2]):
        raise ValueError("a pickle with a key that is no name")
    return dict(zip(items[::2], items[1::2], strict=True))


def _pusher(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(make(machine))


_HANDLERS = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.take(8),
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.POP: lambda m: m.stack.pop(),
    pickle.POP_MARK: lambda m: m.since_mark(),
    pickle.DUP: _pusher(lambda m: m.stack[-1]),
    # numbers
    pickle.NONE: _pusher(lambda m: None),
    pickle.NEWTRUE: _pusher(lambda m: True),
    pickle.NEWFALSE: _pusher(lambda m: False),
    pickle.INT: _pusher(_integer_of_line),
    pickle.LONG: _pusher(_integer_of_line),
    pickle.BININT: _pusher(lambda m: m.number(4, signed=True)),
    pickle.BININT1: _pusher(lambda m: m.number(1)),
    pickle.BININT2: _pusher(lambda m: m.number(2)),
    pickle.LONG1: _pusher(lambda m: m.number(m.number(1), signed=True)),
    pickle.LONG4: _pusher(lambda m: m.number(m.number(4), signed=True)),
    pickle.FLOAT: _pusher(lambda m: float(m.line())),
    pickle.BINFLOAT: _pusher(lambda m: struct.unpack(">d", m.take(8))[0]),
    # text and bytes; the strings of Python 2 are either
    pickle.STRING: _pusher(_quoted_text),
    pickle.BINSTRING: _pusher(lambda m: m.text(m.number(4), "latin1")),
    pickle.SHORT_BINSTRING: _pusher(lambda m: m.text(m.number(1), "latin1")),
    pickle.UNICODE: _pusher(lambda m: _short(str(m.line(), "raw-unicode-escape"))),
    pickle.BINUNICODE: _pusher(lambda m: m.text(m.number(4))),
    pickle.SHORT_BINUNICODE: _pusher(lambda m: m.text(m.number(1))),
    pickle.BINUNICODE8: _pusher(lambda m: m.text(m.number(8))),
    pickle.BINBYTES: _pusher(lambda m: m.take(m.number(4))),
    pickle.SHORT_BINBYTES: _pusher(lambda m: m.take(m.number(1))),
    pickle.BINBYTES8: _pusher(lambda m: m.take(m.number(8))),
    pickle.BYTEARRAY8: _pusher(lambda m: m.take(m.number(8))),
    # containers
    pickle.EMPTY_TUPLE: _pusher(lambda m: ()),
    pickle.TUPLE: _pusher(lambda m: tuple(m.since_mark())),
    pickle.TUPLE1: lambda m: m.pack(1),
    pickle.TUPLE2: lambda m: m.pack(2),
    pickle.TUPLE3: lambda m: m.pack(3),
    pickle.EMPTY_LIST: _pusher(lambda m: []),
    pickle.LIST: _pusher(lambda m: m.since_mark()),
    pickle.APPEND: lambda m: m.extend([m.stack.pop()]),
    pickle.APPENDS: lambda m: m.extend(m.since_mark()),
    pickle.EMPTY_DICT: _pusher(lambda m: {}),
    pickle.DICT: _pusher(lambda m: _dict_of(m.since_mark())),
    pickle.SETITEM: lambda m: m.update(m.pop_two()),
    pickle.SETITEMS: lambda m: m.update(m.since_mark()),
    # A set is of no use here: a list will do.
    pickle.EMPTY_SET: _pusher(lambda m: []),
    pickle.ADDITEMS: lambda m: m.extend(m.since_mark()),
    pickle.FROZENSET: _pusher(lambda m: m.since_mark()),
    # memory
    pickle.GET: _pusher(lambda m: m.memo[_integer_of_line(m)]),
    pickle.BINGET: _pusher(lambda m: m.memo[m.number(1)]),
    pickle.LONG_BINGET: _pusher(lambda m: m.memo[m.number(4)]),
    pickle.PUT: lambda m: m.remember(_integer_of_line(m)),
    pickle.BINPUT: lambda m: m.remember(m.number(1)),
    pickle.LONG_BINPUT: lambda m: m.remember(m.number(4)),
    pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
    # names, and what is done with them
    pickle.GLOBAL: _pusher(lambda m: m.find(*_name_of_lines(m))),
    pickle.STACK_GLOBAL: _pusher(lambda m: m.find(*m.pop_two())),
    pickle.REDUCE: Machine.call,
    pickle.BUILD: Machine.set_state,
    pickle.BINPERSID: _pusher(Machine.refer),
}
_OPERATIONS = {code[0]: handler for code, handler in _HANDLERS.items()}
