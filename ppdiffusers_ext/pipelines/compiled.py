"""What runs the networks of a pipeline: Paddle as it is, or a compiled engine."""

from dataclasses import replace

import paddle

from ppdiffusers_ext.engine.backends import BACKENDS
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.compiled import CompiledFunction
from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone.transformer import TransformerConditions

ENGINES = ("eager", *BACKENDS)


def check_engine(engine):
    """Raises InputError for an engine that is not known or not installed."""
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is not known; use one of {', '.join(ENGINES)}")
    if engine != "eager":
        BACKENDS[engine].check_installed()


def make_engine(engine, cache_folder=None, threads=None):
    """An `EagerEngine` or a `CompiledEngine`.

    Args:
        engine: one of `ENGINES`.
        cache_folder: of exports; the user's cache folder if left out.
        threads: of a compiled engine; as many as there are cores if left out.

    Raises:
        InputError: no such engine, or it is not installed.
    """
    check_engine(engine)
    if engine == "eager":
        return EagerEngine()
    return CompiledEngine(BACKENDS[engine], ExportCache(cache_folder), threads or available_cores())


class EagerEngine:
    """Runs functions of networks as they are, with weights loaded when they are first needed.

    Attributes:
        fixed_shapes: whether new shapes cost time, so that the last few of something are better filled up.
    """

    fixed_shapes = False

    def check(self, network):
        """Raises InputError for a network that this engine cannot run."""

    def run(self, network, what, function, inputs, **settings):
        """The list of tensors that `function(*inputs.values())` returns.

        Args:
            network: a `Network`.
            what: name of the function, which is one of the network's.
            function: of tensors, to a list of tensors.
            inputs: name -> tensor.
            settings: what else the function depends on.
        """
        network.load()
        return function(*inputs.values())

    def unet(self, network):
        """A denoising UNet, as `WindowPredictor` uses it."""
        return network.load()


class CompiledEngine:
    """Runs functions of networks in an engine, each exported once for each set of shapes.

    Args:
        backend: a `Backend`.
        cache: an `ExportCache`.
        threads: of the processor.
    """

    fixed_shapes = True

    def __init__(self, backend, cache, threads):
        self._backend, self._cache, self._threads = backend, cache, threads
        self._functions = {}

    def check(self, network):
        """As `EagerEngine.check`."""
        dtype, device = next(iter(network.model.parameters())).dtype, paddle.device.get_device()
        if dtype != paddle.float32 or device != "cpu":
            raise InputError(
                f"engine {self._backend.name} runs fp32 weights on a CPU, and those of this "
                f"{type(network.model).__name__} are {str(dtype).partition('.')[2]} on {device}; dtype fp32 with "
                "device cpu, or engine eager, is accepted"
            )

    def run(self, network, what, function, inputs, **settings):
        """As `EagerEngine.run`."""
        if (network, what) not in self._functions:
            self.check(network)
            title = f"{type(network.model).__name__}.{what}"
            compiled = CompiledFunction(title, network, self._backend, self._cache, self._threads)
            self._functions[network, what] = compiled
        return self._functions[network, what](function, inputs, **settings)

    def unet(self, network):
        """As `EagerEngine.unet`."""
        return CompiledUNet(network, self)


class CompiledUNet:
    """What the pipeline asks of a `DenoisingUNet3D`, computed in an engine.

    Args:
        network: the `Network` of a `DenoisingUNet3D`.
        engine: a `CompiledEngine`.
    """

    def __init__(self, network, engine):
        self._network, self._unet, self._engine = network, network.model, engine

    def _run(self, what, function, inputs, **settings):
        return self._engine.run(self._network, what, function, inputs, **settings)

    def prepare_clip(self, encoder_hidden_states, reference_features=None):
        """As `DenoisingUNet3D.prepare_clip`."""
        if encoder_hidden_states.shape[1] != 1:
            raise InputError("an engine runs image embeddings of a single token; engine eager is accepted for others")
        features = reference_features or {}

        def function(embedding, *tensors):
            given = dict(zip(features, tensors)) if features else None
            return list(_flatten(self._unet.prepare_clip(embedding, given)).values())

        inputs = {"embedding": encoder_hidden_states, **{f"reference.{name}": x for name, x in features.items()}}
        kinds = ("key", "value", "shift") if features else ("shift",)
        names = [f"{kind}.{name}" for name in self._unet.transformers for kind in kinds]
        return _unflatten(dict(zip(names, self._run("prepare_clip", function, inputs))), self._unet.transformers)

    def prepare_step(self, timestep):
        """As `DenoisingUNet3D.prepare_step`."""
        inputs = {"embedding": self._unet.time_projection(timestep, 1)}
        names = self._unet.resnet_names
        return dict(zip(names, self._run("prepare_step", lambda x: list(self._unet.project_step(x).values()), inputs)))

    def denoise(self, latents, conditions, pose_features=None, depth=0, deep=None):
        """As `DenoisingUNet3D.denoise`."""
        optional = {"pose": pose_features, "deep": deep}
        inputs = {
            "latents": latents,
            **{name: x for name, x in optional.items() if x is not None},
            **{f"time.{name}": time for name, time in conditions.times.items()},
            **_flatten(conditions.clip),
        }

        def function(*tensors):
            given = dict(zip(inputs, tensors))
            times = {name: given[f"time.{name}"] for name in conditions.times}
            traced = replace(conditions, times=times, clip=_unflatten(given, conditions.clip))
            result = self._unet.denoise(given["latents"], traced, given.get("pose"), depth, given.get("deep"))
            return list(result) if depth else [result]

        settings = {"frames": conditions.num_frames, "unconditional": conditions.num_unconditional, "depth": depth}
        outputs = self._run("denoise", function, inputs, **settings)
        return tuple(outputs) if depth else outputs[0]


def _flatten(clip):
    """Name -> `TransformerConditions`, as name -> tensor."""
    tensors = {}
    for name, conditions in clip.items():
        if conditions.reference is not None:
            tensors[f"key.{name}"], tensors[f"value.{name}"] = conditions.reference
        tensors[f"shift.{name}"] = conditions.shift
    return tensors


def _unflatten(tensors, names):
    """What `_flatten` was given, for transformers of these names."""
    references = {name: (tensors.get(f"key.{name}"), tensors.get(f"value.{name}")) for name in names}
    return {
        name: TransformerConditions(None if key is None else (key, value), tensors[f"shift.{name}"])
        for name, (key, value) in references.items()
    }
