"""Quantisation of an export for OpenVINO: convolutions and products with weights in int8, the rest as it was.

Weights have a scale for each output channel, activations one for each tensor, found by running the export on recorded
inputs. SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) moves what outlying channels of an activation have too much
into the weights; it costs nothing here, since the ranges of OpenVINO's FakeQuantize may differ by channel. Which layers
are quantised, and which with it, is decided by the error of each layer on its own activations, and by that of the whole
function: the worst layers stay in floating point until the outputs are good enough.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.engine.decibels import signal_to_noise

logger = logging.getLogger(__name__)

# The ratio of signal to noise, in dB, that layers are kept in floating point for.
GOAL = 28.0
_LARGEST = 127.0  # of int8, which is used symmetrically
_LEVELS = 256
_SMOOTHING = 0.5  # alpha of SmoothQuant: how much of the ratio of activations to weights goes into the weights
# Layers that share so little of the multiplications are not worth an error, nor are those of few channels.
_LEAST_SHARE, _LEAST_CHANNELS = 2e-4, 16
_MEASURED = 2  # samples on which the error of single layers is measured
_TRIES = 5  # of how many layers stay in floating point

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A convolution or a product with a matrix of weights.

    Attributes:
        name: of the node.
        source: name of the activation's port; layers of one source share its quantisation.
        axis: of the channels in the activation.
        weight: (outputs, inputs, ...).
        work: multiplications.
    """

    name: str
    source: str
    axis: int
    weight: np.ndarray
    work: int


@dataclass
class Quantisation:
    """What is made of an export.

    Attributes:
        model: OpenVINO's.
        decibels: signal-to-noise ratio of the outputs against those in fp32.
        kept: names of the layers that stay in floating point.
        smoothed: number of layers whose activations are smoothed.
        count: number of layers that could have been quantised.
        share: of the multiplications, which are in int8.
    """

    model: Any
    decibels: float
    kept: list[str]
    smoothed: int
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
            "layers_smoothed": self.smoothed,
        }


@dataclass
class _Scales:
    """Of a source: the largest number of each channel, and what its channels are divided by (None for nothing)."""

    largest: np.ndarray
    smoothing: np.ndarray | None = field(default=None)


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
        self._weights: dict[tuple[str, bool], tuple[np.ndarray, np.ndarray]] = {}  # name, smoothed -> codes, scale

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
        self._report("errors of layers")
        errors = self._measure(layers, scales, samples[:: -(-len(samples) // _MEASURED)])
        smoothed = {layer.source for layer in layers if self._is_better_smooth(layer.source, layers, errors)}
        for source, of_source in scales.items():
            of_source.smoothing = of_source.smoothing if source in smoothed else None
        worst = sorted(layers, key=lambda layer: -errors[layer.name, layer.source in smoothed])
        return self._choose(worst, scales, held_out, expected)

    def _choose(
        self, worst: list[Layer], scales: dict[str, _Scales], held_out: Sequence[Arrays], expected: list
    ) -> Quantisation:
        """Bisects for the fewest of the worst layers that have to stay as they are."""
        work = sum(layer.work for layer in worst)
        most = next((i for i in range(len(worst)) if sum(x.work for x in worst[i:]) < work / 2), 1) - 1
        low, high, count, best = 0, max(most, 0), 0, None
        for number in range(_TRIES):
            self._report(f"choice of layers, {number + 1} of at most {_TRIES}")
            chosen, kept = worst[count:], worst[:count]
            model = self._build(chosen, scales)
            decibels = signal_to_noise(self._outputs(model, self._precision, held_out), expected)
            logger.info("%d of %d layers in floating point: %.1f dB", count, len(worst), decibels)
            share = sum(layer.work for layer in chosen) / work
            smoothed = sum(scales[layer.source].smoothing is not None for layer in chosen)
            made = Quantisation(model, decibels, [layer.name for layer in kept], smoothed, len(worst), share)
            if decibels >= GOAL:
                best, high = made, count
            else:
                best, low = made if best is None or best.decibels < GOAL else best, count + 1
            if low >= high and (decibels >= GOAL or best.decibels >= GOAL or count == most or low > most):
                break
            count = (low + high) // 2 if best.decibels >= GOAL else most
        return best  # type: ignore[return-value]  # the first try sets it

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
        scales = {source: _Scales(np.maximum(x, 1e-6)) for source, x in zip(axes, largest)}
        if self._activations:
            for source, of_source in scales.items():
                of_source.smoothing = _smoothing(of_source.largest, [x for x in layers if x.source == source])
        return scales, expected

    def _measure(
        self, layers: list[Layer], scales: dict[str, _Scales], samples: Sequence[Arrays]
    ) -> dict[tuple[str, bool], float]:
        """(name of a layer, whether it is smoothed) -> noise to signal of its output on its own activations."""
        import openvino.opset13 as ops

        model, results, keys = self._read(), [], []
        ports, nodes = _ports(model, layers), {node.get_friendly_name(): node for node in model.get_ops()}
        quantised: dict[tuple[str, bool], Any] = {}
        for layer in layers:
            node, of_source = nodes[layer.name], scales[layer.source]
            for smooth in (False, True) if of_source.smoothing is not None else (False,):
                key = layer.source, smooth
                if key not in quantised:
                    quantised[key] = self._quantise(ports[layer.source], layer, of_source, smooth)
                other = _product(node, quantised[key], self._weight(layer, of_source, smooth))
                every = np.arange(len(node.output(0).get_partial_shape()))
                for part in (ops.subtract(other, node), node):
                    results.append(ops.reduce_sum(ops.multiply(part, part), every).output(0))
                keys.append((layer.name, smooth))
        count = len(model.outputs)
        model.add_outputs(results)
        run = self._compile(model, self._precision)
        sums = sum(np.array([float(x) for x in run(sample)[count:]]) for sample in samples)
        noise = sums[::2] / np.maximum(sums[1::2], 1e-30)
        return dict(zip(keys, noise))

    @staticmethod
    def _is_better_smooth(source: str, layers: list[Layer], errors: Mapping[tuple[str, bool], float]) -> bool:
        names = [layer.name for layer in layers if layer.source == source]
        plain, smooth = (sum(errors.get((name, is_so), np.inf) for name in names) for is_so in (False, True))
        return smooth < plain

    def _build(self, chosen: list[Layer], scales: dict[str, _Scales]) -> Any:
        model = self._read()
        ports, nodes = _ports(model, chosen), {node.get_friendly_name(): node for node in model.get_ops()}
        quantised: dict[str, Any] = {}
        for layer in chosen:
            of_source, node = scales[layer.source], nodes[layer.name]
            smooth = of_source.smoothing is not None
            if layer.source not in quantised:
                quantised[layer.source] = self._quantise(ports[layer.source], layer, of_source, smooth)
            other = _product(node, quantised[layer.source], self._weight(layer, of_source, smooth))
            node.output(0).replace(other.output(0))
            other.set_friendly_name(layer.name)
        model.validate_nodes_and_infer_types()
        return model

    def _quantise(self, port: Any, layer: Layer, scales: _Scales, smooth: bool) -> Any:
        """FakeQuantize of an activation, divided by its smoothing."""
        import openvino.opset13 as ops

        if not self._activations:
            return port
        shape = [1] * len(port.get_partial_shape())
        shape[layer.axis] = -1
        factor = scales.smoothing if smooth else None
        largest = scales.largest.max() if factor is None else (scales.largest / factor).max()
        # 256 levels around 0, of which the lowest is that of -128.
        top = np.float32(largest) * np.ones([1] * len(shape), np.float32)
        inner = top if factor is None else top * factor.reshape(shape)
        low = -(_LARGEST + 1) / _LARGEST
        bounds = (ops.constant(np.ascontiguousarray(x, np.float32)) for x in (inner * low, inner, top * low, top))
        return ops.fake_quantize(port, *bounds, _LEVELS)

    def _weight(self, layer: Layer, scales: _Scales, smooth: bool) -> Any:
        import openvino.opset13 as ops

        key = layer.name, smooth
        if key not in self._weights:
            weight = layer.weight
            if smooth and scales.smoothing is not None:
                weight = weight * scales.smoothing.reshape([1, -1, *[1] * (weight.ndim - 2)])
            largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
            scale = np.maximum(largest, 1e-12).astype(np.float32) / np.float32(_LARGEST)
            self._weights[key] = np.rint(weight / scale).astype(np.int8), scale
        codes, scale = self._weights[key]
        return ops.multiply(ops.convert(ops.constant(codes), np.float32), ops.constant(scale))

    def _compile(self, model: Any, precision: str) -> Callable[[Arrays], list[np.ndarray]]:
        compiled = self._core.compile_model(model, "CPU", {**self._options, "INFERENCE_PRECISION_HINT": precision})
        request, names = compiled.create_infer_request(), [port.get_names() for port in compiled.inputs]

        def run(arrays: Arrays) -> list[np.ndarray]:
            given = [next(array for name, array in arrays.items() if name in known) for known in names]
            request.infer(dict(enumerate(given)), share_inputs=True)
            return [tensor.data.copy() for tensor in request.output_tensors]

        return run

    def _outputs(self, model: Any, precision: str, samples: Iterable[Arrays]) -> list[np.ndarray]:
        run = self._compile(model, precision)
        return [array for sample in samples for array in run(sample)]


def _find_layers(model: Any) -> list[Layer]:
    """The layers that are worth quantising, in the order of the graph."""
    found = []
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "MatMul"):
            continue
        weight = _known(node.input_value(1))
        if weight is None or (kind == "MatMul" and (weight.ndim != 2 or node.get_attributes()["transpose_a"])):
            continue
        if kind == "MatMul" and not node.get_attributes()["transpose_b"]:
            weight = weight.T
        if min(weight.shape[:2]) < _LEAST_CHANNELS:
            continue
        port = node.input_value(0)
        axis = 1 if kind == "Convolution" else len(port.get_partial_shape()) - 1
        positions = np.prod(list(node.output(0).get_shape())) // weight.shape[0]
        work = int(positions) * weight.size
        found.append(Layer(node.get_friendly_name(), _name(port), axis, weight, work))
    total = sum(layer.work for layer in found)
    return [layer for layer in found if layer.work >= _LEAST_SHARE * total]


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
    of_weights = np.max([np.abs(x.weight).max(axis=(0, *range(2, x.weight.ndim))) for x in layers], axis=0)
    factor = largest**_SMOOTHING / np.maximum(of_weights, 1e-6) ** (1 - _SMOOTHING)
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
