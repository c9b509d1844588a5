"""Networks of metrics by name: where their weights lie, and opening them in Paddle or in a compiled engine.

What is missing can be told without Paddle, which is imported when a network is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.errors import InputError, MissingFileError, shown, shown_path

if TYPE_CHECKING:
    from paddle import nn

    from ppdiffusers_ext.engine.compiled import CompiledFunction

WEIGHTS = "pretrained_weights"  # the folder that download_weights fills
ENGINES = ("auto", "eager", "openvino", "onnx", "inference")
_FASTEST = "openvino"  # what `auto` is where it is installed


@dataclass(frozen=True)
class MetricNetwork:
    """A network of metrics.

    Attributes:
        name: key in `NETWORKS`.
        files: paths of its weights below the folder of all weights, in the order that they are read.
        checkpoints: names of these files in the registry.
        size: number of features of a picture or clip; 0 for a distance of two pictures.
        make: returns the network without weights.
    """

    name: str
    files: tuple[str, ...]
    checkpoints: tuple[str, ...]
    size: int
    make: Callable[[], nn.Layer]


def _lpips(trunk: str) -> Callable[[], nn.Layer]:
    def make() -> nn.Layer:
        from ppdiffusers_ext.models.metrics.lpips import LPIPS

        return LPIPS(trunk)

    return make


def _inception() -> nn.Layer:
    from ppdiffusers_ext.models.metrics.inception import InceptionV3

    return InceptionV3()


def _i3d(variant: str) -> Callable[[], nn.Layer]:
    def make() -> nn.Layer:
        from ppdiffusers_ext.models.metrics.i3d import VARIANTS, InceptionI3d

        return InceptionI3d(**VARIANTS[variant])

    return make


def _resnet3d() -> nn.Layer:
    from ppdiffusers_ext.models.metrics.resnet3d import ResNet3D

    return ResNet3D()


_I3D_FILE, _I3D = "metrics/i3d_pretrained_400.pt", "I3D-Kinetics-400"
NETWORKS = {
    network.name: network
    for network in (
        MetricNetwork(
            "lpips_alex",
            ("metrics/alexnet-owt-7be5be79.pth", "metrics/lpips_alex.pth"),
            ("LPIPS-alexnet", "LPIPS-alex"),
            0,
            _lpips("alex"),
        ),
        MetricNetwork(
            "lpips_vgg",
            ("LPIPS/vgg16-397923af.pth", "LPIPS/vgg.pth"),
            ("LPIPS-vgg16", "LPIPS"),
            0,
            _lpips("vgg"),
        ),
        MetricNetwork(
            "inception_fid",
            ("metrics/pt_inception-2015-12-05-6726825d.pth",),
            ("FID-Inception",),
            2048,
            _inception,
        ),
        MetricNetwork("i3d_fvd", (_I3D_FILE,), (_I3D,), 400, _i3d("disco")),
        MetricNetwork("i3d_videogpt", (_I3D_FILE,), (_I3D,), 400, _i3d("videogpt")),
        MetricNetwork(
            "resnet3d_fidvid",
            ("metrics/resnet-50-kinetics.pth",),
            ("ResNet3D-50-Kinetics",),
            2048,
            _resnet3d,
        ),
    )
}


def network(name: str) -> MetricNetwork:
    """The network of a name. Raises InputError for one that is not known."""
    if name not in NETWORKS:
        raise InputError(f"network {shown(name)} of metrics is not known; {', '.join(NETWORKS)} are")
    return NETWORKS[name]


def check_networks(names: Iterable[str], folder: str | os.PathLike = WEIGHTS) -> None:
    """Raise MissingFileError, naming the command that fetches them, where weights of networks are not in a folder.

    Args:
        names: of `NETWORKS`; InputError for others.
        folder: of all weights.
    """
    missing: dict[str, str] = {}  # checkpoint -> its first file that is missing
    of: list[str] = []
    for name in names:
        found = network(name)
        absent = {
            checkpoint: file
            for checkpoint, file in zip(found.checkpoints, found.files, strict=True)
            if not (Path(folder) / file).is_file()
        }
        missing = {**absent, **missing}
        of += [name] * bool(absent)
    if missing:
        raise MissingFileError(
            f"{' and '.join(of)} {'needs' if len(of) == 1 else 'need'} {', '.join(missing.values())} in "
            f"{shown_path(folder)}; `{fetching(missing, folder)}` fetches what is missing"
        )


def fetching(checkpoints: Iterable[str], folder: str | os.PathLike = WEIGHTS) -> str:
    """The command that fetches checkpoints of the registry into a folder of all weights."""
    wanted = " ".join(f"--only {checkpoint}" for checkpoint in dict.fromkeys(checkpoints))
    dest = "" if os.fspath(folder) == WEIGHTS else f" --dest {shown_path(folder)}"
    return f"python scripts/download_weights.py {wanted}{dest}"


def open_network(
    name: str,
    folder: str | os.PathLike = WEIGHTS,
    engine: str = "auto",
    cache_folder: str | os.PathLike | None = None,
    threads: int | None = None,
    precision: str = "float32",
) -> OpenedNetwork:
    """Open a network with its published weights.

    Features of OpenVINO are the same bits with any number of threads; those of Paddle differ in the last digit.

    Args:
        name: of `NETWORKS`.
        folder: of all weights, as download_weights fills it.
        engine: "eager" for Paddle on its device, a compiled engine on the processor ("openvino", "onnx" or
            "inference"), or "auto" for OpenVINO where it is installed, and else Paddle.
        cache_folder: of exports; the user's cache folder if left out.
        threads: of a compiled engine; as many as there are cores if left out.
        precision: "float32", or "bfloat16" in OpenVINO, whose features differ in the third digit: for estimates.

    Raises:
        MissingFileError: files are not there; the message has the command that fetches them.
        InputError: no such network, engine or precision, an engine that is not installed, or files of another network.
    """
    check_networks([name], folder)
    from ppdiffusers_ext.weights.assignment import create, load_weights

    found = network(name)
    model = create(found.make)
    files = [Path(folder) / file for file in found.files]
    load_weights(model, *files)
    return OpenedNetwork(name, model, engine, cache_folder, threads, precision)


class OpenedNetwork:
    """A network with weights, one of whose functions is run at a time.

    Args:
        name: of `NETWORKS`.
        model: the network, in evaluation mode.
        engine, cache_folder, threads, precision: see `open_network`.

    Attributes:
        engine: name of what runs it.
        size: number of features.

    Raises:
        InputError: see `open_network`.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        engine: str = "eager",
        cache_folder: str | os.PathLike | None = None,
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        self.name, self.model, self.size = name, model, network(name).size
        self.engine = choose_engine(engine, precision)
        self._settings = (cache_folder, threads, precision)
        self._functions: dict[str, CompiledFunction] = {}

    def run(self, what: str, **arrays: np.ndarray) -> list[np.ndarray]:
        """Outputs of a function of the network.

        Args:
            what: name of a method of the network, from tensors to a tensor.
            arrays: name -> float32 array, in the method's order.

        Returns:
            float32 arrays.
        """
        import paddle

        inputs = {key: paddle.to_tensor(np.ascontiguousarray(array)) for key, array in arrays.items()}

        def function(*tensors: paddle.Tensor) -> list[paddle.Tensor]:
            return [getattr(self.model, what)(*tensors)]

        with paddle.no_grad():
            outputs = function(*inputs.values()) if self.engine == "eager" else self._compiled(what)(function, inputs)
        return [output.numpy() for output in outputs]

    def _compiled(self, what: str) -> CompiledFunction:
        if what not in self._functions:
            from ppdiffusers_ext.engine.backends import BACKENDS
            from ppdiffusers_ext.engine.cache import ExportCache
            from ppdiffusers_ext.engine.compiled import CompiledFunction
            from ppdiffusers_ext.engine.network import Network
            from ppdiffusers_ext.environment import available_cores

            folder, threads, precision = self._settings
            made = CompiledFunction(
                f"{type(self.model).__name__}.{what}",
                Network(self.model),
                BACKENDS[self.engine],
                ExportCache(folder),
                threads or available_cores(),
                precision,
            )
            self._functions[what] = made
        return self._functions[what]


def choose_engine(engine: str, precision: str = "float32") -> str:
    """The name of what runs networks, "auto" resolved.

    Raises:
        InputError: no such engine, it is not installed, cannot compute in this precision, or not on this device.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {shown(engine)} of metrics is not known; use one of {', '.join(ENGINES)}")
    import paddle

    from ppdiffusers_ext.engine.backends import BACKENDS

    on_cpu = paddle.device.get_device() == "cpu"
    if engine == "auto":
        engine = _FASTEST if on_cpu and not BACKENDS[_FASTEST].missing else "eager"
    precisions: Mapping[str, tuple[str, ...]] = {name: backend.precisions for name, backend in BACKENDS.items()}
    if precision not in precisions.get(engine, ("float32",)):
        able = " or ".join(name for name, able in precisions.items() if precision in able)
        raise InputError(
            f"engine {engine} has no metrics in {shown(precision)}; float32 {f'or engine {able} ' if able else ''}is "
            "accepted"
        )
    if engine != "eager":
        BACKENDS[engine].check_installed()
        if not on_cpu:
            raise InputError(f"engine {engine} runs metrics on a CPU; engine eager, or device cpu, is accepted")
    return engine
