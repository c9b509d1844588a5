"""The contestants of `denoising_step`: networks of one shape, filled with the same random numbers.

Frameworks are imported by the functions that use them: these run under different Pythons.
"""

import functools
import os
import zlib

from benchmarks.contestant import measure, peak_bytes, versions

HEADS = 8
TIMESTEP = 500
WEIGHT_STD = 0.02


@functools.cache
def _normals():
    import numpy as np

    return np.random.default_rng(0).standard_normal(2**20, dtype="float32")


def random(shape, std=1.0, name=""):
    """Random numbers that are cheap to have by the billion: a million of them, repeated.

    Each `name` has them from another place on: equal channels or heads in all layers would hide what goes wrong.
    """
    import numpy as np

    return np.resize(np.roll(_normals(), zlib.crc32(name.encode())), shape) * np.float32(std)


def start_paddle(settings):
    # Both Paddle contestants get what a user of ppdiffusers_ext gets: the fast MKL path, and all threads.
    from paddle.base import core

    import ppdiffusers_ext.models  # noqa: F401

    core.set_num_threads(settings["threads"])


def _fill_paddle(model):
    import paddle

    for name, parameter in model.named_parameters():
        parameter.copy_(paddle.to_tensor(random(parameter.shape, WEIGHT_STD, name)), False)


def measure_array(call, settings):
    """`measure` of a call for an array, which is written to the file of the settings."""
    import numpy as np

    arrays = []
    row = measure(lambda: arrays.append(call()), settings["repeats"])
    np.save(settings["output"], arrays[-1])
    return row


def _measure_paddle(model, arguments, settings):
    import paddle

    with paddle.no_grad():
        # The numbers are read, so that the call is complete when its time is taken.
        row = measure_array(lambda: model(*arguments)[0].numpy(), settings)
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions("paddlepaddle", "ppdiffusers")
    row["mkl_debug_cpu_type"] = os.environ.get("MKL_DEBUG_CPU_TYPE")
    return row


def _inputs(settings, to_tensor):
    latents = to_tensor(random(settings["latents"]))
    return latents, TIMESTEP, to_tensor(random(settings["encoder_hidden_states"]))


def _make_unet(settings):
    """Our network without weights."""
    from ppdiffusers_ext.models.animate_anyone.denoising_unet import DenoisingUNet3D
    from ppdiffusers_ext.weights.assignment import create

    return create(
        dtype=settings.get("weights_dtype", "float32"),
        make=lambda: DenoisingUNet3D(
            block_out_channels=settings["block_out_channels"],
            norm_num_groups=settings["norm_num_groups"],
            cross_attention_dim=settings["encoder_hidden_states"][-1],
            attention_head_dim=HEADS,
            use_inflated_groupnorm=True,
            use_motion_module=True,
            motion_module_mid_block=True,
            motion_module_type="Vanilla",
            motion_module_kwargs={
                "num_attention_heads": HEADS,
                "num_transformer_block": 1,
                "attention_block_types": ["Temporal_Self", "Temporal_Self"],
                "temporal_position_encoding": True,
                "temporal_position_encoding_max_len": settings["motion_max_seq_length"],
            },
        ),
    )


class RandomArray:
    """Random numbers that are made when they are written."""

    def __init__(self, name, shape, std=WEIGHT_STD):
        import numpy as np

        self._name, self.shape, self.dtype, self._std = name, tuple(shape), np.dtype("float32"), std
        self.nbytes = int(np.prod(shape)) * self.dtype.itemsize

    def __array__(self, dtype=None, copy=None):
        return random(self.shape, self._std, self._name)


def write_weights(settings):
    """The file that `ours` loads: random weights, as large as a checkpoint."""
    from ppdiffusers_ext.weights.writing import write_safetensors

    arrays = {name: RandomArray(name, tensor.shape) for name, tensor in _make_unet(settings).state_dict().items()}
    write_safetensors(settings["weights"], arrays, {"format": "pd"})
    return {"bytes": os.path.getsize(settings["weights"])}


def engine_of(settings):
    """What runs our network."""
    from ppdiffusers_ext.pipelines.engines import make_engine

    names = ("engine", "cache", "threads", "dtype")
    return make_engine(*(settings[name] for name in names), weights=settings["in_8_bits"])


def ours(settings, with_reference=False):
    """Our network in the engine of the settings, as an animation calls it: what follows from the clip comes first."""
    start_paddle(settings)
    import paddle

    with paddle.no_grad():
        row = measure_array(make_call(settings, engine_of(settings), with_reference), settings)
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions("paddlepaddle", "ppdiffusers")
    row["mkl_debug_cpu_type"] = os.environ.get("MKL_DEBUG_CPU_TYPE")
    return row


def make_call(settings, engine, with_reference=False):
    """A function that predicts once in an engine, and returns the array."""
    import paddle

    from ppdiffusers_ext.models.animate_anyone.blocks import Conditions
    from ppdiffusers_ext.pipelines.animate_anyone.compiled_unet import make_unet
    from ppdiffusers_ext.pipelines.loading import Part

    network = Part(_make_unet(settings), [settings["weights"]])
    latents, timestep, context = _inputs(settings, paddle.to_tensor)
    unet = make_unet(engine, network)
    reference = _reference_features(network.model, settings) if with_reference else None
    clip = unet.prepare_clip(context, reference)

    def step():
        conditions = Conditions(unet.prepare_step(timestep), clip, num_frames=latents.shape[2])
        return unet.denoise(latents, conditions).astype("float32").numpy()

    return step


def _reference_features(model, settings):
    """Random features of one reference picture of the clip's size, for each spatial transformer block."""
    import paddle

    from ppdiffusers_ext.models.animate_anyone import ReferenceFeatures

    levels, side = len(settings["block_out_channels"]), settings["latents"][-1]
    features = ReferenceFeatures()
    for layer in model.sublayers():
        if hasattr(layer, "feature_name"):
            kind, index = layer.feature_name.split(".")[:2]
            halvings = {"down_blocks": int(index), "up_blocks": levels - 1 - int(index)} if index.isdigit() else {}
            tokens = (side >> halvings.get(kind, levels - 1)) ** 2
            channels = layer.transformer_blocks[0].norm1.weight.shape[0]  # there before the weight itself is
            features[layer.feature_name] = paddle.to_tensor(random([1, tokens, channels], name=layer.feature_name))
    return features


def ours_with_reference(settings):
    return ours(settings, with_reference=True)


def _motion_options(settings):
    """Options of UNetMotionModel, which are the same in ppdiffusers and diffusers."""
    return {
        "block_out_channels": settings["block_out_channels"],
        "norm_num_groups": settings["norm_num_groups"],
        "cross_attention_dim": settings["encoder_hidden_states"][-1],
        "num_attention_heads": HEADS,
        "motion_num_attention_heads": HEADS,
        "motion_max_seq_length": settings["motion_max_seq_length"],
        "use_motion_mid_block": True,
    }


def ppdiffusers_motion_model(settings):
    start_paddle(settings)
    import paddle
    from ppdiffusers.models.unet_motion_model import UNetMotionModel

    with paddle.LazyGuard():
        model = UNetMotionModel(**_motion_options(settings))
    model.eval()
    _fill_paddle(model)
    return _measure_paddle(model, _inputs(settings, paddle.to_tensor), settings)


def diffusers_motion_model(settings, dtype="float32"):
    import torch
    from diffusers import UNetMotionModel

    dtype = getattr(torch, dtype)
    torch.set_num_threads(settings["threads"])
    with torch.device("meta"):
        model = UNetMotionModel(**_motion_options(settings))
    model = model.to(dtype).to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.copy_(torch.from_numpy(random(tensor.shape, WEIGHT_STD, name)))
        latents, timestep, context = _inputs(settings, lambda array: torch.from_numpy(array).to(dtype))
        # This class wants the context once for each frame; the others repeat it themselves where they need to.
        arguments = latents, timestep, context.repeat_interleave(latents.shape[2], dim=0)
        row = measure_array(lambda: model(*arguments)[0].float().numpy(), settings)
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions("torch", "diffusers")
    return row


def diffusers_motion_model_bf16(settings):
    return diffusers_motion_model(settings, "bfloat16")


CONTESTANTS = {
    "weights": write_weights,
    "ours": ours,
    "ours_with_reference": ours_with_reference,
    "ppdiffusers_UNetMotionModel": ppdiffusers_motion_model,
    "diffusers_UNetMotionModel": diffusers_motion_model,
    "diffusers_UNetMotionModel_bf16": diffusers_motion_model_bf16,
}
