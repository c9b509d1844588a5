"""This project's contestants of `train_step`, and what they share with those in torch (`training_peer`).

Every contestant starts from the same weights and sees the same inputs, so that equal losses show equal computations.
Frameworks are imported by the functions that use them: these run under different Pythons.
"""

import math
import zlib

from benchmarks.contestant import measure, peak_bytes, versions
from benchmarks.networks import HEADS, random, start_paddle

LEARNING_RATE, WEIGHT_DECAY = 1e-4, 0.01
POSE_WIDTHS = (16, 32, 96, 256)
INPUTS = ("noisy_latents", "timesteps", "reference_latents", "image_embedding", "pose_pixels")


def weight(name, shape):
    """The numbers that a trained or frozen tensor starts from, by its name and its shape in torch's layout.

    Norms start as the identity, and motion modules without influence, as they do in training.
    """
    import numpy as np

    if len(shape) == 1 or ("motion_modules." in name and ".proj_out." in name):
        is_norm = len(shape) == 1 and name.endswith("weight")
        return np.full(shape, float(is_norm), "float32")
    numbers = np.roll(random(shape, 1 / math.sqrt(math.prod(shape[1:]))).ravel(), zlib.crc32(name.encode()))
    return numbers.reshape(shape)


def inputs(settings):
    """The arguments of `AnimateAnyoneModel` and the velocity that it should predict, as arrays by name."""
    import numpy as np

    batch, channels, frames, height, width = settings["latents"]
    random = np.random.default_rng(0)
    shapes = {
        "noisy_latents": (batch, channels, frames, height, width),
        "reference_latents": (batch, channels, height, width),
        "image_embedding": (batch, 1, settings["cross_attention_dim"]),
        "target": (batch, channels, frames, height, width),
    }
    arrays = {name: random.standard_normal(shape, "float32") for name, shape in shapes.items()}
    arrays["pose_pixels"] = random.random((batch, 3, frames, 8 * height, 8 * width), "float32")
    arrays["timesteps"] = random.integers(1000, size=batch)
    return arrays


def describe(step, model, settings, parameters):
    """What every contestant says of its run: times, losses, peak memory, and numbers of parameters.

    Args:
        step: function that makes one optimisation step and returns its loss.
        model: with `named_parameters`.
        parameters: the trained ones.
    """
    losses = []
    row = measure(lambda: losses.append(step()), settings["repeats"])
    row["samples_per_second"] = settings["latents"][0] / row["seconds"]
    row["peak_bytes"] = peak_bytes()
    row["losses"] = losses  # the first is that of the weights that all start from
    row["parameters"] = sum(math.prod(parameter.shape) for _, parameter in model.named_parameters())
    row["trained_parameters"] = sum(math.prod(parameter.shape) for parameter in parameters)
    return row


def make_ours(settings):
    """The `AnimateAnyoneModel` of a stage with its tensors frozen, and those that learn."""
    import paddle

    from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
    from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel, freeze
    from ppdiffusers_ext.weights.conversion import transposed_names

    keys = ("block_out_channels", "layers_per_block", "cross_attention_dim")
    options = {**{key: settings[key] for key in keys}, "attention_head_dim": HEADS}
    motion = {
        "use_motion_module": True,
        "motion_module_mid_block": True,
        "motion_module_type": "Vanilla",
        "motion_module_kwargs": {
            "num_attention_heads": HEADS,
            "num_transformer_block": 1,
            "temporal_position_encoding": True,
            "temporal_position_encoding_max_len": settings["motion_max_seq_length"],
        },
    }
    model = AnimateAnyoneModel(
        ReferenceUNet(**options),
        DenoisingUNet3D(**options, use_inflated_groupnorm=True, **(motion if settings["stage"] == 2 else {})),
        PoseGuider(settings["block_out_channels"][0], block_out_channels=POSE_WIDTHS),
    )
    transposed = transposed_names(model)
    for name, parameter in model.named_parameters():
        numbers = weight(name, parameter.shape[::-1]).T if name in transposed else weight(name, parameter.shape)
        parameter.copy_(paddle.to_tensor(numbers), False)
    if settings.get("gradient_checkpointing"):
        for network in (model.reference_unet, model.denoising_unet):
            network.enable_gradient_checkpointing()
    freeze(model, settings["stage"])
    model.train()
    return model, [parameter for parameter in model.parameters() if not parameter.stop_gradient]


def allocated_by(call):
    """The most memory, in bytes, that Paddle has allocated on the CPU during `call()`, less what it had before."""
    from paddle.base import core

    before = core.host_memory_stat_current_value("Allocated", 0)
    core.host_memory_stat_reset_peak_value("Allocated", 0)
    call()
    return core.host_memory_stat_peak_value("Allocated", 0) - before


def ours(settings):
    start_paddle(settings)
    import paddle

    from ppdiffusers_ext.training.losses import mean_squared_error

    model, learning = make_ours(settings)
    tensors = {name: paddle.to_tensor(array) for name, array in inputs(settings).items()}
    optimizer = paddle.optimizer.AdamW(LEARNING_RATE, parameters=learning, weight_decay=WEIGHT_DECAY)

    def backward():
        loss = mean_squared_error(model(*(tensors[name] for name in INPUTS)), tensors["target"])
        loss.backward()
        return loss

    def step():
        loss = backward()
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    row = describe(step, model, settings, learning)
    # Gradients are not counted: those of the last step are there before, as zeros, and are added to.
    row["activation_bytes"] = allocated_by(backward)
    row["tensors_without_gradient"] = sum(parameter.grad is None for parameter in learning)
    row["versions"] = versions("paddlepaddle", "ppdiffusers")
    return row


CONTESTANTS = {"ours": ours}
