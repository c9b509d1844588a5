"""The denoising UNet in a compiled engine, in the place of the eager one."""

import paddle

from ppdiffusers_ext.engine.backends import BACKENDS
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.compiled import CompiledFunction
from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone.blocks import Conditions
from ppdiffusers_ext.models.animate_anyone.transformer import TransformerConditions

ENGINES = ("eager", *BACKENDS)


def check_engine(engine):
    """Raises InputError for an engine that is not known or not installed."""
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is not known; use one of {', '.join(ENGINES)}")
    if engine != "eager":
        BACKENDS[engine].check_installed()


def compile_unet(unet, engine, cache_folder=None):
    """The UNet, or a `CompiledUNet` of it.

    Args:
        unet: `DenoisingUNet3D`.
        engine: one of `ENGINES`.
        cache_folder: of exports; the user's cache folder if left out.

    Raises:
        InputError: no such engine, it is not installed, or it cannot run this UNet.
    """
    check_engine(engine)
    if engine == "eager":
        return unet
    parameter = unet.conv_in.weight
    if parameter.dtype != paddle.float32 or not parameter.place.is_cpu_place():
        raise InputError(f"engine {engine} runs fp32 weights on a CPU; dtype fp32 or engine eager is accepted")
    denoise = CompiledFunction("denoise", unet, BACKENDS[engine], ExportCache(cache_folder), available_cores())
    return CompiledUNet(unet, denoise)


class CompiledUNet:
    """What the pipeline asks of a `DenoisingUNet3D`, with `denoise` in an engine.

    Args:
        unet: the eager network.
        denoise: a `CompiledFunction` of it.
    """

    def __init__(self, unet, denoise):
        self._unet, self._denoise = unet, denoise
        self.config, self.max_frames, self.max_depth = unet.config, unet.max_frames, unet.max_depth
        self.prepare_clip, self.prepare_step = unet.prepare_clip, unet.prepare_step

    def denoise(self, latents, conditions, pose_features=None, depth=0, deep=None):
        """As `DenoisingUNet3D.denoise`."""
        inputs, rebuild = _flatten(latents, conditions, pose_features, deep)

        def function(*tensors):
            *arguments, of_earlier_step = rebuild(tensors)
            result = self._unet.denoise(*arguments, depth, of_earlier_step)
            return list(result) if depth else result

        settings = {"frames": conditions.num_frames, "unconditional": conditions.num_unconditional, "depth": depth}
        outputs = self._denoise(function, inputs, **settings)
        return tuple(outputs) if depth else outputs[0]


def _flatten(latents, conditions, pose_features, deep):
    """name -> tensor of all that the network is given, and what makes its arguments of such tensors again."""
    if conditions.context is not None:
        raise InputError("an engine runs image embeddings of a single token; engine eager is accepted for others")
    inputs = {"latents": latents}
    if pose_features is not None:
        inputs["pose"] = pose_features
    if deep is not None:
        inputs["deep"] = deep
    inputs |= {f"time.{name}": time for name, time in conditions.times.items()}
    for name, clip in conditions.clip.items():
        inputs[f"shift.{name}"] = clip.shift
        if clip.reference is not None:
            inputs[f"key.{name}"], inputs[f"value.{name}"] = clip.reference
    names = list(inputs)

    def rebuild(tensors):
        given = dict(zip(names, tensors))
        clip = {
            name: TransformerConditions(
                (given[f"key.{name}"], given[f"value.{name}"]) if f"key.{name}" in given else None,
                given[f"shift.{name}"],
            )
            for name in conditions.clip
        }
        times = {name: given[f"time.{name}"] for name in conditions.times}
        rebuilt = Conditions(times, clip, None, conditions.num_frames, conditions.num_unconditional)
        return given["latents"], rebuilt, given.get("pose"), given.get("deep")

    return inputs, rebuild
