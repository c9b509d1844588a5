"""Quantisation of an export for OpenVINO: convolutions and products with weights in int8, the rest as it was.

Weights have a scale for each output channel, activations one for each tensor, found by running the export on recorded
inputs. SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) moves what outlying channels of an activation have too much
into the weights. It costs nothing where the ranges of OpenVINO's FakeQuantize differ by channel. Some graphs come out
far off in that way, though each of their layers is near; where the outputs show it, activations are divided before
they are quantised. If the outputs of the function are still not good enough, the layers with the largest errors on
their own activations stay in floating point.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.engine.decibels import signal_to_noise

logger = logging.getLogger(__name__)

# The ratio of signal to noise, in dB, that layers are kept in floating point for.
GOAL = 28.0
_LARGEST = 127.0  # of int8, which is used symmetrically
_LEVELS = 256
_TINY = 1e-12
# A channel that was small in all samples may be larger elsewhere: its range is this part of the largest's at least.
_LEAST_OF_LARGEST = 1e-3
_SMOOTHING = 0.5  # alpha of SmoothQuant: how much of the ratio of activations to weights goes into the weights
# Layers that share so little of the multiplications are not worth an error, nor are those of few channels.
_LEAST_SHARE, _LEAST_CHANNELS = 2e-4, 16
_FINENESS = 16  # into how many parts the layers are divided to find how many have to stay
_MEASURED = 2  # samples on which the error of single layers is measured

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A convolution or a product with a matrix of weights.

    Attributes:
        name: of the node.
        source: name of the activation's port; layers of one source share its quantisation.
        axis: of the channels in the activation.
        largest: weight of each input channel, (inputs,).
        work: multiplications.
    """

    name: str
    source: str
    axis: int
    largest: np.ndarray
    work: int


@dataclass
class Quantisation:
    """What is made of an export.

    Attributes:
        model: OpenVINO's.
        decibels: signal-to-noise ratio of the outputs against those in fp32.
        kept: names of the layers that stay in floating point.
        count: number of layers that could have been quantised.
        share: of the multiplications, which are in int8.
    """

    model: Any
    decibels: float
    kept: list[str]
    count: int
    share: float

    def save(self, folder: Path) -> None:
        """Write model.xml and model.bin into a folder."""
        import openvino

        openvino.save_model(self.model, folder / "model.xml", compress_to_fp16=False)

    def facts(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "decibels": round(self.decibels, 2),
            "share_of_work": round(self.share, 4),
            "layers": self.count,
            "layers_in_floating_point": self.kept,
        }


@dataclass(frozen=True)
class _Scales:
    """Of a source: the largest number of each channel, and what its channels are divided by.

    divides: whether by an operation of its own, not by ranges that differ by channel.
    """

    largest: np.ndarray
    smoothing: np.ndarray
    divides: bool = False


class Quantiser:
    """Quantises one export.

    Args:
        path: of the export's graph, with weights in fp32.
        threads: number of CPU threads.
        precision: "f32" or "bf16", of the layers in floating point.
        activations: False for weights alone, where the processor has no products of int8.
        report: called with a word about what is done next.
    """

    def __init__(
        self, path: Path, threads: int, precision: str, activations: bool, report: Callable[[str], object]
    ) -> None:
        import openvino

        self._path, self._core, self._report = path, openvino.Core(), report
        self._options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self._precision, self._activations = precision, activations
        self._weights: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # name of a layer -> codes, scale

    def run(self, samples: Sequence[Arrays], held_out: Sequence[Arrays]) -> Quantisation:
        """
        Args:
            samples: inputs of the function by name, which ranges are taken of.
            held_out: others, which the result is judged by.

        Returns:
            `Quantisation`: with `GOAL` reached, or half of the work in int8 and as good as that can be.
        """
        layers = _find_layers(self._read())
        self._report("activations")
        scales, expected = self._observe(layers, samples, held_out)
        every = self._try(layers, [], scales, held_out, expected)
        if every.decibels >= GOAL:
            return every
        dividing = {source: replace(of_source, divides=True) for source, of_source in scales.items()}
        other = self._try(layers, [], dividing, held_out, expected)
        if other.decibels >= GOAL:
            return other
        if other.decibels > every.decibels:
            every, scales = other, dividing
        self._report("errors of layers")
        errors = self._measure(layers, scales, samples[:: -(-len(samples) // _MEASURED)])
        worst = sorted(layers, key=lambda layer: -errors[layer.name])
        # Half of the work is in int8, or it is not worth an export.
        work = np.cumsum([layer.work for layer in worst])
        low, high = 0, int(np.searchsorted(work, work[-1] / 2))
        best = self._try(worst[high:], worst[:high], scales, held_out, expected)
        if best.decibels < GOAL:
            return max(every, best, key=lambda made: made.decibels)
        while high - low > max(len(worst) // _FINENESS, 1):  # the first does not reach the goal, the second does
            count = (low + high) // 2
            made = self._try(worst[count:], worst[:count], scales, held_out, expected)
            low, high, best = (low, count, made) if made.decibels >= GOAL else (count, high, best)
        return best

    def _try(
        self,
        chosen: list[Layer],
        kept: list[Layer],
        scales: dict[str, _Scales],
        held_out: Sequence[Arrays],
        expected: list[np.ndarray],
    ) -> Quantisation:
        count = len(chosen) + len(kept)
        self._report(f"{len(kept)} of {count} layers in floating point")
        model = self._build(chosen, scales)
        run = self._compile(model, self._precision)
        outputs = [array for sample in held_out for array in run(sample)]
        decibels = signal_to_noise(outputs, expected)
        logger.info("%d of %d layers in floating point: %.1f dB", len(kept), count, decibels)
        work, work_kept = (sum(layer.work for layer in layers) for layers in (chosen, kept))
        share = work / max(work + work_kept, 1)
        return Quantisation(model, decibels, [layer.name for layer in kept], count, share)

    def _read(self) -> Any:
        return self._core.read_model(str(self._path))

    def _observe(
        self, layers: list[Layer], samples: Sequence[Arrays], held_out: Sequence[Arrays]
    ) -> tuple[dict[str, _Scales], list]:
        """Scales of each source, and the outputs for what is held out, in fp32."""
        import openvino.opset13 as ops

        model, axes = self._read(), {layer.source: layer.axis for layer in layers}
        count, ports = len(model.outputs), _ports(model, layers)
        for source, axis in axes.items():
            port = ports[source]
            others = [i for i in range(len(port.get_partial_shape())) if i != axis]
            model.add_outputs(ops.reduce_max(ops.abs(port), np.array(others)).output(0))
        largest: list = [None] * len(axes)
        run = self._compile(model, "f32")
        for sample in samples:
            of_sample = run(sample)[count:]
            largest = [x if before is None else np.maximum(before, x) for x, before in zip(of_sample, largest)]
        expected = [array for sample in held_out for array in run(sample)[:count]]
        scales = {}
        for source, of_channels in zip(axes, largest):
            of_channels = np.maximum(of_channels, max(_LEAST_OF_LARGEST * of_channels.max(), _TINY))
            scales[source] = _Scales(of_channels, _smoothing(of_channels, [x for x in layers if x.source == source]))
        return scales, expected

    def _measure(self, layers: list[Layer], scales: dict[str, _Scales], samples: Sequence[Arrays]) -> dict[str, float]:
        """Name of a layer -> noise to signal of its output in int8 on its own activations."""
        import openvino.opset13 as ops

        model, results = self._read(), []
        count = len(model.outputs)
        for node, other in self._in_int8(model, layers, scales):
            axes = np.arange(len(node.output(0).get_partial_shape()))
            for part in (ops.subtract(other, node), node):
                results.append(ops.reduce_sum(ops.multiply(part, part), axes).output(0))
        model.add_outputs(results)
        run = self._compile(model, self._precision)
        sums = np.sum([[float(x) for x in run(sample)[count:]] for sample in samples], axis=0)
        return dict(zip([layer.name for layer in layers], sums[::2] / np.maximum(sums[1::2], _TINY)))

    def _build(self, chosen: list[Layer], scales: dict[str, _Scales]) -> Any:
        model = self._read()
        for node, other in self._in_int8(model, chosen, scales):
            name = node.get_friendly_name()
            node.output(0).replace(other.output(0))
            other.set_friendly_name(name)
        model.validate_nodes_and_infer_types()
        return model

    def _in_int8(self, model: Any, layers: list[Layer], scales: dict[str, _Scales]) -> list[tuple[Any, Any]]:
        """The node of each layer in a model, and one that computes the same in int8."""
        nodes = {node.get_friendly_name(): node for node in model.get_ops()}
        ports, quantised, pairs = _ports(model, layers), {}, []
        for layer in layers:
            of_source, node = scales[layer.source], nodes[layer.name]
            if layer.source not in quantised:
                quantised[layer.source] = self._quantise(ports[layer.source], layer.axis, of_source)
            pairs.append((node, _product(node, quantised[layer.source], self._weight(node, of_source))))
        return pairs

    def _quantise(self, port: Any, axis: int, scales: _Scales) -> Any:
        """FakeQuantize of an activation, which divides it by its smoothing."""
        import openvino.opset13 as ops

        if not self._activations:
            return port
        shape = [1] * len(port.get_partial_shape())
        top = np.full(shape, (scales.largest / scales.smoothing).max(), np.float32)
        shape[axis] = -1
        factors = scales.smoothing.reshape(shape)
        if scales.divides:
            port, inner = ops.multiply(port, ops.constant(1 / factors)).output(0), top
        else:
            inner = top * factors
        low = -(_LARGEST + 1) / _LARGEST  # the lowest of 256 levels around 0 is that of -128
        bounds = (ops.constant(np.ascontiguousarray(x, np.float32)) for x in (inner * low, inner, top * low, top))
        return ops.fake_quantize(port, *bounds, _LEVELS)

    def _weight(self, node: Any, scales: _Scales) -> Any:
        """The weights of a layer in int8, of channels that are multiplied by their smoothing."""
        import openvino.opset13 as ops

        name = node.get_friendly_name()
        if name not in self._weights:
            weight = _weight_of(node)
            assert weight is not None  # or it would be no layer
            if self._activations:
                weight = weight * scales.smoothing.reshape([1, -1, *[1] * (weight.ndim - 2)])
            largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
            scale = np.maximum(largest, _TINY).astype(np.float32) / np.float32(_LARGEST)
            self._weights[name] = np.rint(weight / scale).astype(np.int8), scale
        codes, scale = self._weights[name]
        return ops.multiply(ops.convert(ops.constant(codes, shared_memory=True), np.float32), ops.constant(scale))

    def _compile(self, model: Any, precision: str) -> Callable[[Arrays], list[np.ndarray]]:
        compiled = self._core.compile_model(model, "CPU", {**self._options, "INFERENCE_PRECISION_HINT": precision})
        request, names = compiled.create_infer_request(), [port.get_names() for port in compiled.inputs]

        def run(arrays: Arrays) -> list[np.ndarray]:
            given = [next(array for name, array in arrays.items() if name in known) for known in names]
            request.infer(dict(enumerate(given)), share_inputs=True)
            return [tensor.data.copy() for tensor in request.output_tensors]

        return run


def _find_layers(model: Any) -> list[Layer]:
    """The layers that are worth quantising, in the order of the graph."""
    found = []
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "MatMul"):
            continue
        weight = _weight_of(node)
        if weight is None or min(weight.shape[:2]) < _LEAST_CHANNELS:
            continue
        port = node.input_value(0)
        axis = 1 if kind == "Convolution" else len(port.get_partial_shape()) - 1
        positions = np.prod(list(node.output(0).get_shape())) // weight.shape[0]
        work = int(positions) * weight.size
        largest = np.abs(weight).max(axis=(0, *range(2, weight.ndim)))
        found.append(Layer(node.get_friendly_name(), _name(port), axis, largest, work))
    total = sum(layer.work for layer in found)
    return [layer for layer in found if layer.work >= _LEAST_SHARE * total]


def _weight_of(node: Any) -> np.ndarray | None:
    """The weights of a convolution or a product, (outputs, inputs, ...) in fp32; None if they are not constant.

    They are read when they are needed: all at once take as much memory as the network.
    """
    weight = _known(node.input_value(1))
    if weight is None or node.get_type_name() == "Convolution":
        return weight
    given = node.get_attributes()
    if weight.ndim != 2 or given["transpose_a"]:
        return None
    return weight if given["transpose_b"] else weight.T


def _known(port: Any) -> np.ndarray | None:
    """The array of a constant in fp32, of one that is stored in bf16, or of one of these that is transposed."""
    node = port.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        return node.get_data(dtype=np.float32) if node.get_element_type().to_string() in ("f32", "bf16") else None
    if kind == "Convert":
        return _known(node.input_value(0))
    if kind == "Transpose" and (array := _known(node.input_value(0))) is not None:
        return array.transpose([int(i) for i in node.input_value(1).get_node().data])
    return None


def _name(port: Any) -> str:
    return f"{port.get_node().get_friendly_name()}:{port.get_index()}"


def _ports(model: Any, layers: Sequence[Layer]) -> dict[str, Any]:
    """Source -> its port in a model."""
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    split = ((layer.source, *layer.source.rsplit(":", 1)) for layer in layers)
    return {source: nodes[name].output(int(index)) for source, name, index in split}


def _smoothing(largest: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """What the channels of an activation are divided by, and those of its layers' weights multiplied."""
    of_weights = np.max([layer.largest for layer in layers], axis=0)
    factor = largest**_SMOOTHING / np.maximum(of_weights, _TINY) ** (1 - _SMOOTHING)
    return (factor / np.exp(np.log(factor).mean())).astype(np.float32)


def _product(node: Any, x: Any, weight: Any) -> Any:
    """What a layer computes, of another activation and other weights, (outputs, inputs, ...)."""
    import openvino.opset13 as ops

    if node.get_type_name() == "MatMul":
        return ops.matmul(x, weight, False, True)
    given = node.get_attributes()
    names = ("strides", "pads_begin", "pads_end", "dilations")
    return ops.convolution(x, weight, *(given[name] for name in names))


def split_samples(samples: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Those that ranges are taken of, and those that the result is judged by: every third, or the only one as well."""
    held_out = samples[1::3]
    return [x for i, x in enumerate(samples) if i % 3 != 1], list(held_out or samples)
