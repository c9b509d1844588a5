"""What trainings of autoencoders share: how a new one starts, and the factor that brings latents to unit variance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

_SCALE_SAMPLES = 64  # whose latents decide the scaling factor
_LOG_VARIANCE = -6.0  # of the latents, at the start


def narrow(vae: Any) -> None:
    """Have the latents start with little noise, so that the decoder hears of the picture from the first step on.

    Args:
        vae: autoencoder with `quant_conv`, whose second half of channels is the logarithm of the variance.
    """
    bias = vae.quant_conv.bias.numpy()
    bias[vae.config.latent_channels :] = _LOG_VARIANCE
    vae.quant_conv.bias.set_value(bias)


@paddle.no_grad()
def scaling_factor(vae: Any, samples: Any, pixels_of: Callable[[Any], np.ndarray]) -> float:
    """What brings the latents' numbers to unit variance.

    Args:
        vae: autoencoder, which is left in the mode of evaluation.
        samples: dataset.
        pixels_of: function from a sample to what the autoencoder encodes.
    """
    vae.eval()
    numbers = []
    for index in range(min(_SCALE_SAMPLES, len(samples))):
        latents = vae.encode(paddle.to_tensor(pixels_of(samples[index]))).latent_dist.mean
        numbers.append(latents.astype("float32").flatten())
    return round(1 / float(paddle.concat(numbers).std()), 5)
