"""What a LoRA file adds to the weight of a layer: LoRA, LoCon, LoHa, LoKr, whole differences, and DoRA over these.

Hu et al. 2021, arXiv:2106.09685 (LoRA); Yeh et al. 2023, arXiv:2309.14859 (LyCORIS: LoCon, LoHa, LoKr, each with
Tucker's decomposition of convolutions); Liu et al. 2024, arXiv:2402.09353 (DoRA). Weights are in torch's layout here:
(outputs, inputs) of a linear layer, (outputs, inputs, *kernel) of a convolution. All is computed in fp32.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.assignment import is_finite
from ppdiffusers_ext.weights.lora_names import ALPHA_ACCEPTED, METHODS, shorten

if TYPE_CHECKING:
    import paddle


_EPSILON = np.finfo(np.float32).eps  # which LyCORIS adds to DoRA's norms


@dataclass(frozen=True)
class LowRank:
    """up (outputs, rank, *) times down (rank, inputs, *kernel); with mid (rank, rank, *kernel) between them."""

    up: np.ndarray
    down: np.ndarray
    mid: np.ndarray | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        kernel = self.down.shape[2:] if self.mid is None else self.mid.shape[2:]
        return (self.up.shape[0], self.down.shape[1], *kernel)

    def problem(self) -> str | None:
        """What does not fit, or None."""
        ranks = {self.up.shape[1], self.down.shape[0], *(() if self.mid is None else self.mid.shape[:2])}
        if len(ranks) > 1:
            return f"parts of the ranks {', '.join(map(str, sorted(ranks)))}"
        outer = self.up.shape[2:] + (() if self.mid is None else self.down.shape[2:])
        return "a kernel where a matrix is needed" if math.prod(outer) != 1 else None

    def compute(self) -> np.ndarray:
        up = self.up.reshape(self.up.shape[:2])
        if self.mid is not None:
            return _tucker(self.mid, up, self.down.reshape(self.down.shape[:2]))
        return up @ self.down.reshape(self.rank, -1)


@dataclass(frozen=True)
class Hadamard:
    """LoHa: the product, number by number, of two products w_a @ w_b, or of two Tucker decompositions."""

    w1_a: np.ndarray
    w1_b: np.ndarray
    w2_a: np.ndarray
    w2_b: np.ndarray
    t1: np.ndarray | None = None
    t2: np.ndarray | None = None

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return _shape_of_pair(self.w1_a, self.w1_b, self.t1)

    def problem(self) -> str | None:
        if (self.t1 is None) != (self.t2 is None):
            return "one hada_t without the other"
        pairs = (self.w1_a, self.w1_b, self.t1), (self.w2_a, self.w2_b, self.t2)
        problem = _problem_of_pair(*pairs[0]) or _problem_of_pair(*pairs[1])
        if problem is None and self.w2_b.shape[0] != self.rank:
            return f"parts of the ranks {self.rank}, {self.w2_b.shape[0]}"
        return problem or (None if _shape_of_pair(*pairs[1]) == self.shape else "two products of different shapes")

    def compute(self) -> np.ndarray:
        return _pair(self.w1_a, self.w1_b, self.t1) * _pair(self.w2_a, self.w2_b, self.t2)


@dataclass(frozen=True)
class Kronecker:
    """LoKr: Kronecker's product of w1, a matrix, and w2; each may be a product w_a @ w_b, w2 Tucker's as well."""

    w1: np.ndarray | None = None
    w1_a: np.ndarray | None = None
    w1_b: np.ndarray | None = None
    w2: np.ndarray | None = None
    w2_a: np.ndarray | None = None
    w2_b: np.ndarray | None = None
    t2: np.ndarray | None = None

    @property
    def rank(self) -> int | None:
        """None where both are whole: nothing is divided by a rank then."""
        return next((b.shape[0] for b in (self.w2_b, self.w1_b) if b is not None), None)

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.w1.shape if self.w1 is not None else _shape_of_pair(self.w1_a, self.w1_b)  # type: ignore[arg-type]  # see `problem`
        second = self.w2.shape if self.w2 is not None else _shape_of_pair(self.w2_a, self.w2_b, self.t2)  # type: ignore[arg-type]  # see `problem`
        return (first[0] * second[0], first[1] * second[1], *second[2:])

    def problem(self) -> str | None:
        for name, whole, a, b in (
            ("lokr_w1", self.w1, self.w1_a, self.w1_b),
            ("lokr_w2", self.w2, self.w2_a, self.w2_b),
        ):
            if (a is None) != (b is None) or (whole is None) == (a is None):
                return f"not either {name}, or {name}_a and {name}_b"
        if self.t2 is not None and self.w2_a is None:
            return "lokr_t2 without lokr_w2_a and lokr_w2_b"
        if self.w1 is not None and self.w1.ndim != 2:
            return "a kernel where a matrix is needed"
        for a, b, t in ((self.w1_a, self.w1_b, None), (self.w2_a, self.w2_b, self.t2)):
            problem = None if a is None else _problem_of_pair(a, b, t)  # type: ignore[arg-type]  # compared above
            if problem:
                return problem
        if self.w1_b is not None and self.w2_b is not None and self.w1_b.shape[0] != self.w2_b.shape[0]:
            return f"parts of the ranks {self.w1_b.shape[0]}, {self.w2_b.shape[0]}"
        return None

    def compute(self) -> np.ndarray:
        first = self.w1 if self.w1 is not None else _pair(self.w1_a, self.w1_b)  # type: ignore[arg-type]  # see `problem`
        second = self.w2 if self.w2 is not None else _pair(self.w2_a, self.w2_b, self.t2)  # type: ignore[arg-type]  # see `problem`
        return np.kron(first.reshape(*first.shape, *[1] * (second.ndim - 2)), second)


@dataclass(frozen=True)
class Whole:
    """The difference itself, of the weight's shape."""

    diff: np.ndarray
    rank = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.diff.shape

    def problem(self) -> str | None:
        return None

    def compute(self) -> np.ndarray:
        return self.diff


def _tucker(core: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """core (i, j, *kernel), outer (outputs, i), inner (j, inputs) -> (outputs, inputs, *kernel)."""
    kernel = core.shape[2:]
    x = outer @ core.reshape(core.shape[0], -1)  # (outputs, j * kernel)
    x = np.moveaxis(x.reshape(outer.shape[0], core.shape[1], -1), 1, 2) @ inner  # (outputs, kernel, inputs)
    return np.ascontiguousarray(np.moveaxis(x, 1, 2)).reshape(outer.shape[0], inner.shape[1], *kernel)


def _pair(a: np.ndarray, b: np.ndarray, core: np.ndarray | None = None) -> np.ndarray:
    """a @ b, (outputs, rank) and (rank, inputs); with a core, a is (rank, outputs)."""
    return a @ b if core is None else _tucker(core, a.T, b)


def _shape_of_pair(a: np.ndarray, b: np.ndarray, core: np.ndarray | None = None) -> tuple[int, ...]:
    return (a.shape[0], b.shape[1]) if core is None else (a.shape[1], b.shape[1], *core.shape[2:])


def _problem_of_pair(a: np.ndarray, b: np.ndarray, core: np.ndarray | None = None) -> str | None:
    if a.ndim != 2 or b.ndim != 2 or (core is not None and core.ndim < 3):
        return "parts of another number of axes"
    ranks = {a.shape[1], b.shape[0]} if core is None else {a.shape[0], b.shape[0], *core.shape[:2]}
    return f"parts of the ranks {', '.join(map(str, sorted(ranks)))}" if len(ranks) > 1 else None


@dataclass(frozen=True)
class Addition:
    """What is added to one layer.

    Attributes:
        path, stem: file and what it calls the layer.
        product: `LowRank`, `Hadamard`, `Kronecker` or `Whole`; None where the bias alone is changed.
        scale: of the product; None for it to be asked for.
        magnitude: DoRA's, as it is in the file; None without DoRA.
        is_of_outputs: whether the magnitudes are of outputs whatever their shape, as PEFT's.
        bias: (outputs,) what is added to the bias, or None.
        bias_is_scaled: whether it is scaled as the product, as PEFT's is.
    """

    path: str | os.PathLike
    stem: str
    product: Any
    scale: Any = None
    magnitude: Any = None
    is_of_outputs: bool = False
    bias: Any = None
    bias_is_scaled: bool = False

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.path}: {shorten([self.stem])}"

    def misfit(self, shape: Sequence[int]) -> str | None:
        """What a weight of this shape, in torch's layout, has against the product; None where it can be added."""
        if self.product is None or _fits(self.product.shape, tuple(shape)):
            return None
        theirs = f"takes {_inputs(self.product.shape)} numbers and gives {self.product.shape[0]} there"
        return f"{theirs}; {_inputs(shape)} and {shape[0]} are needed"

    def check(self, shape: Sequence[int], bias_shape: Sequence[int] | None) -> None:
        """Raise InputError unless magnitudes and bias can be added to those of a layer that the product fits.

        Args:
            shape, bias_shape: of weight and bias in torch's layout; the second None for a layer without a bias.
        """
        if self.magnitude is not None:
            self._axis(shape)
        if self.bias is not None and (bias_shape is None or self.bias.shape != tuple(bias_shape)):
            needed = "the layer has no bias" if bias_shape is None else f"{tuple(bias_shape)} is needed"
            raise InputError(f"{self.where} changes a bias by {self.bias.shape}; {needed}")

    def of_weight(self, shape: Sequence[int], strength: float, weight: Any = None) -> np.ndarray:
        """What is added to a weight: fp32 of its shape in torch's layout.

        Args:
            shape: of the weight.
            strength: what all is multiplied by; DoRA's addition is in proportion to it as the others are.
            weight: fp32, which DoRA needs.
        """
        if self.magnitude is None:
            return np.float32(strength * self.scale) * self.product.compute().reshape(shape)
        merged = weight + np.float32(self.scale) * self.product.compute().reshape(shape)
        axis = self._axis(shape)
        others = tuple(i for i in range(weight.ndim) if i != axis)
        norm = np.sqrt(np.square(merged).sum(axis=others, keepdims=True)) + _EPSILON
        sizes = [-1 if i == axis else 1 for i in range(weight.ndim)]
        return np.float32(strength) * (merged * (self.magnitude.reshape(sizes) / norm) - weight)

    def of_bias(self, strength: float) -> np.ndarray:
        """What is added to the bias: (outputs,) fp32."""
        return np.float32(strength * (self.scale if self.bias_is_scaled else 1.0)) * self.bias

    def _axis(self, shape: Sequence[int]) -> int:
        """The weight's axis that the magnitudes are of: 0, outputs, or 1, inputs, as LyCORIS has them by default."""
        sizes, count = self.magnitude.shape, self.magnitude.size
        if self.is_of_outputs or self.magnitude.ndim < 2:
            axis = 0
        else:
            axis = 0 if sizes[0] == count and (count > 1 or shape[0] == 1) else 1
            if sizes[axis] != count:
                axis = None
        if axis is None or shape[axis] != count:
            raise InputError(
                f"{self.where} has magnitudes of the shape {tuple(sizes)}; ({shape[0]}, 1) or (1, {shape[1]}) is "
                "needed"
            )
        return axis


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a product is a weight, or may be seen as one: 1x1 behind a matrix, or a kernel behind its inputs."""
    if len(shape) == 2:
        return shape[0] == wanted[0] and shape[1] == math.prod(wanted[1:]) and len(wanted) >= 2
    return shape[: len(wanted)] == wanted and math.prod(shape[len(wanted) :]) == 1


def _inputs(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape[1:])) or "1"


_PARTS = {
    LowRank: ("up", "down", "mid"),
    Hadamard: ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    Kronecker: ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    Whole: ("diff",),
}
_NEEDED = {
    LowRank: ("up", "down"),
    Hadamard: ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    Kronecker: (),
    Whole: ("diff",),
}
_WORDS = {"up": "lora_up", "down": "lora_down", "mid": "lora_mid", "up_bias": "lora_B.bias"}


def make_addition(path: str | os.PathLike, stem: str, elements: Mapping[str, tuple[str, paddle.Tensor]]) -> Addition:
    """The `Addition` of a layer.

    Args:
        path: of the file.
        stem: what it calls the layer.
        elements: name of the element -> (its whole key, tensor).

    Raises:
        InputError: elements that are missing, do not fit each other, or are no finite numbers with a fraction.
    """
    where = f"{path}: {shorten([stem])}"
    kinds = [kind for kind, names in _PARTS.items() if any(name in elements for name in names)]
    if len(kinds) > 1:
        keys = [elements[next(name for name in _PARTS[kind] if name in elements)][0] for kind in kinds]
        raise InputError(f"{path} has two methods for one layer, {shorten(keys)}; {METHODS}, one for a layer")
    arrays = {name: _read(path, *elements[name]) for name in elements if name != "alpha"}
    product = _make_product(where, kinds[0], arrays) if kinds else None
    more = [name for name in ("alpha", "dora_scale", "magnitude", "up_bias") if name in elements]
    if more and (product is None or (product.rank is None and not isinstance(product, Kronecker))):
        raise InputError(f"{path} has {shorten([elements[more[0]][0]])} of a layer without lora_up and lora_down")
    if {"dora_scale", "magnitude"} <= arrays.keys() or {"diff_b", "up_bias"} <= arrays.keys():
        raise InputError(f"{where} is there twice, in names of two tools; one is accepted")
    magnitude, bias = (arrays.get(a, arrays.get(b)) for a, b in (("dora_scale", "magnitude"), ("diff_b", "up_bias")))
    alpha = _read_alpha(path, *elements["alpha"]) if "alpha" in elements else None
    rank = None if product is None else product.rank
    if alpha == 0 and rank is not None:
        raise InputError(f"{path}: {shorten([elements['alpha'][0]])} is 0; {ALPHA_ACCEPTED}")
    scale = None if alpha is None else alpha / (rank or 1)
    if product is not None and rank is None:
        scale = 1.0  # also beside an alpha, which is of a rank
    return Addition(
        path,
        stem,
        product,
        scale,
        magnitude,
        is_of_outputs="magnitude" in arrays,
        bias=bias,
        bias_is_scaled="up_bias" in arrays,
    )


def _make_product(where: str, kind: type, arrays: dict[str, np.ndarray]) -> Hadamard | Kronecker | LowRank | Whole:
    missing = [name for name in _NEEDED[kind] if name not in arrays]
    if missing:
        words = " and ".join(_WORDS.get(name, name) for name in missing)
        raise InputError(f"{where} lacks {words} beside it; a file that is complete is needed")
    parts = {name: arrays[name] for name in _PARTS[kind] if name in arrays}
    small = [name for name, array in parts.items() if array.ndim < (1 if kind is Whole else 2) or not array.size]
    if small:
        shape = parts[small[0]].shape
        raise InputError(f"{where} has the shape {shape} in {_WORDS.get(small[0], small[0])}, which is no matrix")
    product = kind(**{name.removeprefix("lokr_").removeprefix("hada_"): array for name, array in parts.items()})
    problem = product.problem()
    if problem:
        raise InputError(f"{where} has {problem}; those of one layer have to fit each other")
    return product


def _read(path: str | os.PathLike, key: str, tensor: paddle.Tensor) -> np.ndarray:
    """A tensor in fp32, in memory of its own."""
    kind = str(tensor.dtype).removeprefix("paddle.")
    if not kind.startswith(("float", "bfloat")):
        raise InputError(f"{path}: {shorten([key])} holds {kind}; numbers with a fraction are accepted")
    array = np.array(to_array(tensor.astype("float32")))
    if not is_finite(array):
        raise InputError(f"{path}: {shorten([key])} holds values that are not finite numbers; the file is damaged")
    return array


def _read_alpha(path: str | os.PathLike, key: str, tensor: paddle.Tensor) -> float:
    values = to_array(tensor.astype("float32")).reshape(-1)
    if values.size != 1 or not is_finite(values):
        raise InputError(f"{path}: {shorten([key])} is of the shape {list(tensor.shape)}; one finite number is needed")
    return float(values[0])
