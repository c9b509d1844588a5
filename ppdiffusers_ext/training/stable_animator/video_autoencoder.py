"""Video autoencoder from a picture autoencoder, as Stable Video Diffusion's was made from Stable Diffusion's.

From Blattmann et al. 2023, arXiv:2311.15127: the decoder gets temporal layers beside the spatial ones. Here they have
no effect at first, so frames are decoded as by the picture autoencoder.
"""

import numpy as np
import paddle
from ppdiffusers import AutoencoderKL, AutoencoderKLTemporalDecoder

from ppdiffusers_ext.pipelines.loading import make_video_vae

_LAYERS = 2  # of each block: with one, ppdiffusers' decoder for videos leaves the attention out


def to_video_vae(vae: AutoencoderKL, pixels: paddle.Tensor) -> AutoencoderKLTemporalDecoder:
    """An `AutoencoderKLTemporalDecoder` with the weights of an `AutoencoderKL`.

    Blocks of one layer get a second one that changes nothing. The latents are those after `post_quant_conv`, which
    picture autoencoders have in front of the decoder and video autoencoders do not have.

    Args:
        pixels: (n, 3, height, width) in [-1, 1], whose latents the scaling factor brings to unit variance.
    """
    config, groups = vae.config, vae.config.norm_num_groups
    video = make_video_vae(
        {
            "down_block_types": list(config.down_block_types),
            "block_out_channels": list(config.block_out_channels),
            "layers_per_block": _LAYERS,
            "latent_channels": config.latent_channels,
            "norm_num_groups": groups,
        }
    )
    arrays = {name: tensor.astype("float32").numpy() for name, tensor in vae.state_dict().items()}
    own = {_video_name(name): array for name, array in arrays.items() if not name.startswith("post_quant_conv")}
    own.update(_latents_after(arrays, config.latent_channels))
    for name, parameter in video.state_dict().items():
        parameter.set_value(own[name] if name in own else _without_effect(name, parameter.numpy()))
    video.eval()
    with paddle.no_grad():
        latents = video.encode(pixels).latent_dist.mean
    video.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    return video


def _video_name(name: str) -> str:
    if name.startswith("decoder.") and ".resnets." in name:
        block, _, rest = name.partition(".resnets.")
        number, _, layer = rest.partition(".")
        return f"{block}.resnets.{number}.spatial_res_block.{layer}"
    return name


def _latents_after(arrays: dict[str, np.ndarray], channels: int) -> dict[str, np.ndarray]:
    """The convolution of the encoder's end such that its means have been through `post_quant_conv`."""
    weight, bias = (arrays[f"quant_conv.{kind}"].copy() for kind in ("weight", "bias"))
    mixing, shift = arrays["post_quant_conv.weight"][:, :, 0, 0], arrays["post_quant_conv.bias"]
    weight[:channels, :, 0, 0] = mixing @ weight[:channels, :, 0, 0]
    bias[:channels] = mixing @ bias[:channels] + shift
    return {"quant_conv.weight": weight, "quant_conv.bias": bias}


def _without_effect(name: str, array: np.ndarray) -> np.ndarray:
    """A layer's start: nothing is added to what it is given, or for the last one over time, it is passed on."""
    if name.endswith("conv2.weight") or name.endswith("conv2.bias") or name.endswith("time_conv_out.bias"):
        return np.zeros_like(array)
    if name.endswith("time_conv_out.weight"):  # (3, 3, 3, 1, 1)
        array = np.zeros_like(array)
        array[range(3), range(3), 1] = 1
    return array
