"""The contestants of `svd_step`: networks of one shape, filled with the same random numbers.

Frameworks are imported by the functions that use them: these run under different Pythons.
"""

import os

from benchmarks.contestant import peak_bytes, versions
from benchmarks.networks import WEIGHT_STD, RandomArray, engine_of, measure_array, random, start_paddle

TIMESTEP, ADDED = 1.0, [6.0, 127.0, 0.02]
FACE_TOKENS = 4


def _make_unet(settings):
    """Our network without weights."""
    from ppdiffusers_ext.models.stable_animator.unet import AnimationUNet
    from ppdiffusers_ext.weights.assignment import create

    return create(lambda: AnimationUNet(**settings["network"]), settings.get("weights_dtype", "float32"))


def write_weights(settings):
    """The file that `ours` loads: random weights, as large as a checkpoint."""
    from ppdiffusers_ext.weights.writing import write_safetensors

    arrays = {name: RandomArray(name, tensor.shape) for name, tensor in _make_unet(settings).state_dict().items()}
    write_safetensors(settings["weights"], arrays, {"format": "pd"})
    return {"bytes": os.path.getsize(settings["weights"])}


def ours(settings, is_conditional=True):
    """Our network in the engine of the settings, as an animation calls it: what follows from the clip comes first."""
    start_paddle(settings)
    import paddle

    with paddle.no_grad():
        row = measure_array(make_call(settings, engine_of(settings), is_conditional), settings)
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions("paddlepaddle", "ppdiffusers")
    return row


def make_call(settings, engine, is_conditional=True):
    """A function that predicts once in an engine, and returns the array."""
    import paddle

    from ppdiffusers_ext.pipelines.loading import Part
    from ppdiffusers_ext.pipelines.stable_animator.denoise import UNetCalls

    network = Part(_make_unet(settings), [settings["weights"]])
    options = settings["network"]
    sample = paddle.to_tensor(random(settings["sample"]))
    context = paddle.to_tensor(random([1, 1 + FACE_TOKENS, options["cross_attention_dim"]]))
    poses = paddle.to_tensor(
        random([settings["sample"][1], options["block_out_channels"][0], *settings["sample"][3:]])
    )
    added = paddle.to_tensor([ADDED])
    unet = UNetCalls(engine, network)
    clip = unet.prepare_clip(context) if is_conditional else None

    def step():
        times = unet.prepare_step(paddle.to_tensor([TIMESTEP]), added)
        predicted, _ = unet.denoise(sample, times, clip, poses if is_conditional else None)
        return predicted.astype("float32").numpy()

    return step


def ours_unconditional(settings):
    return ours(settings, is_conditional=False)


def diffusers_unet(settings, dtype="float32"):
    import torch
    from diffusers import UNetSpatioTemporalConditionModel

    dtype = getattr(torch, dtype)
    torch.set_num_threads(settings["threads"])
    with torch.device("meta"):
        model = UNetSpatioTemporalConditionModel(**settings["network"])
    model = model.to(dtype).to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.copy_(torch.from_numpy(random(tensor.shape, WEIGHT_STD, name)))
        sample = torch.from_numpy(random(settings["sample"])).to(dtype)
        context = torch.from_numpy(random([1, 1, settings["network"]["cross_attention_dim"]])).to(dtype)
        arguments = sample, TIMESTEP, context, torch.tensor([ADDED]).to(dtype)
        row = measure_array(lambda: model(*arguments)[0].float().numpy(), settings)
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions("torch", "diffusers")
    return row


def diffusers_unet_bf16(settings):
    return diffusers_unet(settings, "bfloat16")


CONTESTANTS = {
    "weights": write_weights,
    "ours": ours,
    "ours_unconditional": ours_unconditional,
    "diffusers_UNetSpatioTemporalConditionModel": diffusers_unet,
    "diffusers_UNetSpatioTemporalConditionModel_bf16": diffusers_unet_bf16,
}
