"""The contestants of `dit_step`: one network, written in Paddle here and in torch in `dit_peer`, of the same weights.

Frameworks are imported by the functions that use them: these run under different Pythons.
"""

import os

from benchmarks import dit_peer
from benchmarks.contestant import peak_bytes, versions
from benchmarks.networks import RandomArray, engine_of, measure_array, random, start_paddle

TIMESTEP = 500.0
CLIP_TOKENS = 256
NORM_STD = 0.1  # of what norms' weights differ from 1 by
PIXELS_OF_A_LATENT = 8


def make_network(settings):
    """Our network without weights."""
    from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
    from ppdiffusers_ext.weights.assignment import create

    return create(lambda: HunyuanTransformer3D(**settings["network"]), settings.get("weights_dtype", "float32"))


def _begin_clip(settings, engine):
    """A clip's `TransformerCall`, without guidance."""
    import paddle

    from ppdiffusers_ext.pipelines.easy_animate.denoise import Text, TransformerCall
    from ppdiffusers_ext.pipelines.loading import Part
    from ppdiffusers_ext.pipelines.steps import BlockCaching, Guidance

    network, size = Part(make_network(settings), [settings["weights"]]), settings["size"]
    options = network.model.config
    lengths, widths = (
        (options.text_len, options.text_len_t5),
        (
            options.cross_attention_dim,
            options.cross_attention_dim_t5,
        ),
    )
    states = [paddle.to_tensor(random([1, *shape])) for shape in zip(lengths, widths)]
    masks = [paddle.ones([1, length]) for length in lengths]
    text = Text(states[0], masks[0], states[1], masks[1])
    pixels = [side * PIXELS_OF_A_LATENT for side in size[1:]]
    call = TransformerCall(engine, network, (None, text), size, pixels, 1, Guidance(), BlockCaching())
    clip = paddle.to_tensor(random([1, CLIP_TOKENS, options.projection_dim]))
    call.see(paddle.to_tensor(random([1, 8, *size])), clip, 0)
    return call


def write_weights(settings):
    """The file of random weights that all load, and what ours prepares of a clip, which the peer takes from there."""
    import numpy as np
    import paddle

    from ppdiffusers_ext.models.easy_animate.shared import embed_numbers
    from ppdiffusers_ext.pipelines.engines import make_engine
    from ppdiffusers_ext.weights.writing import write_safetensors

    arrays = {name: weight(name, tensor.shape) for name, tensor in make_network(settings).state_dict().items()}
    write_safetensors(settings["weights"], arrays, {"format": "pd"})
    with paddle.no_grad():
        conditions = _begin_clip(settings, make_engine("eager")).conditions((True,), True)
        conditions["time"] = embed_numbers(paddle.to_tensor([TIMESTEP]))
    np.savez(settings["conditions"], **{name: tensor.numpy() for name, tensor in conditions.items()})
    return {"bytes": os.path.getsize(settings["weights"])}


def weight(name, shape):
    """The random numbers of a parameter, as an array or as what becomes one when it is written."""
    if len(shape) == 1 and name.endswith("weight"):  # of a norm
        return 1 + random(shape, NORM_STD, name)
    return RandomArray(name, shape, shape[0] ** -0.5 if len(shape) == 2 else NORM_STD)


def ours(settings):
    """Our network in the engine of the settings, as a pipeline calls it."""
    start_paddle(settings)
    import paddle

    with paddle.no_grad():
        row = measure_array(make_call(settings, engine_of(settings)), settings)
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions("paddlepaddle", "ppdiffusers")
    return row


def make_call(settings, engine):
    """A function that predicts once in an engine, and returns the array."""
    import paddle

    latents, call = paddle.to_tensor(random([1, 4, *settings["size"]])), _begin_clip(settings, engine)
    return lambda: call(latents, TIMESTEP, 0)[0].astype("float32").numpy()


def torch_sdpa(settings, dtype="float32"):
    import numpy as np
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(settings["threads"])
    dtype = getattr(torch, dtype)
    weights = {name: tensor.to(dtype) for name, tensor in load_file(settings["weights"]).items()}
    with np.load(settings["conditions"]) as arrays:
        conditions = {name: torch.from_numpy(arrays[name]).to(dtype) for name in arrays.files}
    latents = torch.from_numpy(random([1, 4, *settings["size"]])).to(dtype)
    with torch.inference_mode():
        network = dit_peer.Network(
            weights, settings["network"]["num_layers"], settings["network"]["num_attention_heads"]
        )
        row = measure_array(lambda: network(latents, conditions)[:, :4].float().numpy(), settings)
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions("torch")
    return row


def torch_sdpa_bf16(settings):
    return torch_sdpa(settings, "bfloat16")


CONTESTANTS = {
    "weights": write_weights,
    "ours": ours,
    "torch_sdpa": torch_sdpa,
    "torch_sdpa_bf16": torch_sdpa_bf16,
}
