"""Small TensorFlow Lite files, written with the package flatbuffers."""

from dataclasses import dataclass, field

import flatbuffers
import numpy as np

_KINDS = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3}
_WRITERS = {"i": "PrependInt32Slot", "b": "PrependInt8Slot", "B": "PrependUint8Slot", "I": "PrependUint32Slot"}


@dataclass
class Step:
    """An operator: its builtin code or the name of a custom one, indices of tensors, and fields of its options.

    options: field -> (kind, value), or (kind, list) for a vector of numbers.
    """

    code: int | str
    inputs: list
    outputs: list
    options: dict = field(default_factory=dict)
    custom: bytes = b""


@dataclass
class Sparsity:
    """Traversal order, block map, and levels: a number for all indices, or (segments, indices)."""

    order: list
    blocks: list
    levels: list


def write_tflite(tensors, steps, inputs, outputs, sparsity=None):
    """The bytes of a file.

    tensors: list of a shape, for what is computed (float32), or an array.
    sparsity: index of a tensor -> (shape, `Sparsity`), whose array is the list of its values.
    """
    writer = _Writer(sparsity or {})
    return writer.write(tensors, steps, inputs, outputs)


class _Writer:
    def __init__(self, sparsity):
        self.builder, self.sparsity = flatbuffers.Builder(1024), sparsity

    def write(self, tensors, steps, inputs, outputs):
        arrays = [value if isinstance(value, np.ndarray) else None for value in tensors]
        buffers = [self.table({})]
        for value in arrays:
            buffers.append(self.table({} if value is None else {0: ("vector", value.tobytes())}))
        names = list(dict.fromkeys(step.code for step in steps))
        codes = [self.code(name) for name in names]
        described = [self.tensor(index, value) for index, value in enumerate(tensors)]
        operators = [self.operator(step, names) for step in steps]
        graph = self.table(
            {
                0: ("offset", self.offsets(described)),
                1: ("ints", inputs),
                2: ("ints", outputs),
                3: ("offset", self.offsets(operators)),
            }
        )
        parts = {
            0: ("I", 3),
            1: ("offset", self.offsets(codes)),
            2: ("offset", self.offsets([graph])),
            4: ("offset", self.offsets(buffers)),
        }
        self.builder.Finish(self.table(parts), file_identifier=b"TFL3")
        return bytes(self.builder.Output())

    def code(self, name):
        if isinstance(name, str):
            return self.table({0: ("b", 32), 1: ("text", name), 3: ("i", 32)})
        return self.table({0: ("b", min(name, 127)), 3: ("i", name)})

    def tensor(self, index, value):
        shape = value.shape if isinstance(value, np.ndarray) else value
        kind = value.dtype.name if isinstance(value, np.ndarray) else "float32"
        fields = {1: ("b", _KINDS[kind]), 2: ("I", index + 1), 3: ("text", f"t{index}")}
        if index in self.sparsity:
            shape, sparsity = self.sparsity[index]
            fields[6] = ("offset", self.sparse(sparsity))
        return self.table({0: ("ints", list(shape)), **fields})

    def sparse(self, sparsity):
        levels = []
        for level in sparsity.levels:
            if isinstance(level, int):
                levels.append(self.table({0: ("b", 0), 1: ("i", level)}))
                continue
            segments, indices = (self.table({0: ("ints", list(numbers))}) for numbers in level)
            fields = {0: ("b", 1), 2: ("B", 1), 3: ("offset", segments), 4: ("B", 1), 5: ("offset", indices)}
            levels.append(self.table(fields))
        fields = {0: ("ints", sparsity.order), 1: ("ints", sparsity.blocks), 2: ("offset", self.offsets(levels))}
        return self.table(fields)

    def operator(self, step, names):
        options = self.table(step.options)
        fields = {0: ("I", names.index(step.code)), 1: ("ints", step.inputs), 2: ("ints", step.outputs)}
        fields |= {3: ("B", 1), 4: ("offset", options)}
        if step.custom:
            fields[5] = ("vector", step.custom)
        return self.table(fields)

    def table(self, fields):
        """The offset of a table of field -> (kind, value)."""
        ready = {number: self.ready(kind, value) for number, (kind, value) in fields.items()}
        self.builder.StartObject(max(ready, default=-1) + 1)
        for number, (kind, value) in ready.items():
            if kind == "offset":
                self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
            else:
                # With a default that no value is, all are written.
                getattr(self.builder, _WRITERS[kind])(number, value, -99 if kind in "ib" else 99)
        return self.builder.EndObject()

    def ready(self, kind, value):
        if kind == "text":
            return "offset", self.builder.CreateString(value)
        if kind == "vector":
            return "offset", self.builder.CreateByteVector(value)
        if kind == "ints":
            return "offset", self.builder.CreateNumpyVector(np.asarray(value, np.int32))
        return kind, value

    def offsets(self, tables):
        self.builder.StartVector(4, len(tables), 4)
        for offset in reversed(tables):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()
