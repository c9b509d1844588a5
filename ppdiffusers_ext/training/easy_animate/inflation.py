"""From an autoencoder that has learned pictures to one of clips, in the way of Carreira & Zisserman 2017
(arXiv:1705.07750): EasyAnimate's V2 began with Stable Diffusion's autoencoder like this.
"""

import paddle

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.models.easy_animate.vae_layers import CausalConv3d

_MIDDLE, _NEWEST = 1, 2  # of the three frames that a convolution sees


@paddle.no_grad()
def inflate(vae: AutoencoderKLMagvit) -> None:
    """Have each convolution see one frame alone, as it sees a picture: a clip that stands still is coded as one.

    With a picture, the other frames are nothing, or, in V2, the picture again. V4's decoder looks at a picture with
    the weights of a clip's frame before: from here on it has to learn pictures anew.
    """
    encoder, decoder = (_NEWEST if vae.is_causal else _MIDDLE), (_MIDDLE if vae.sees_neighbours else _NEWEST)
    for part, place in ((vae.encoder, encoder), (vae.decoder, decoder)):
        for layer in part.sublayers():
            if isinstance(layer, CausalConv3d):
                weight = layer.weight  # (outputs, inputs, 3, 3, 3)
                inflated = paddle.zeros_like(weight)
                inflated[:, :, place] = weight.sum(axis=2) if vae.is_causal else weight[:, :, _MIDDLE]
                weight.set_value(inflated)
