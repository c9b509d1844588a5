"""SigLIP's vision tower, and the head that rates how pictures look.

Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023), as transformers' `SiglipVisionModel`: a vision
transformer without a class token, whose outputs one learnt query gathers. The head is that of
discus0434/aesthetic-predictor-v2-5. Names are those of the published checkpoints.
"""

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdiffusers.transformers import CLIPVisionConfig
from ppdiffusers.transformers.clip.modeling import CLIPMLP, CLIPEncoder

from ppdiffusers_ext.models.network_rules import CHANNELS, DEPTH, EPSILON, HEADS, WIDE
from ppdiffusers_ext.models.rules import Choice, Rules, Whole, divides
from ppdiffusers_ext.weights.declaration import CheckpointNames

_DEFAULTS = {
    **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"num_channels": 3, "image_size": 224, "patch_size": 16, "layer_norm_eps": 1e-6},
}
_WIDTHS = (1024, 128, 64, 16, 1)  # of the head


def _size(options: dict[str, Any]) -> float:
    width, patches = options["hidden_size"], (options["image_size"] // options["patch_size"]) ** 2
    block = 4 * width**2 + 2 * width * options["intermediate_size"]
    return (options["num_hidden_layers"] + 1) * block + width * patches


def _has_patches(options: dict[str, Any]) -> str | None:
    if options["image_size"] < options["patch_size"]:
        return f"image_size {options['image_size']} is less than a patch, {options['patch_size']} (patch_size)"
    return None


class SiglipVisionModel(nn.Layer):
    """A picture to one vector.

    Args:
        hidden_size: of the tokens and of the vector.
        intermediate_size: of the layers between.
        num_hidden_layers, num_attention_heads: of the transformer.
        num_channels, image_size, patch_size: of pictures.
        layer_norm_eps: of all norms.
        hidden_act: the only one that there is.

    Raises:
        InputError: options that do not fit.
    """

    option_rules = Rules(
        {
            "hidden_size": WIDE,
            "intermediate_size": Whole(1, 65536),
            "num_hidden_layers": DEPTH,
            "num_attention_heads": HEADS,
            "num_channels": CHANNELS,
            "image_size": Whole(1, 4096),
            "patch_size": Whole(1, 1024),
            "layer_norm_eps": EPSILON,
            "hidden_act": Choice("gelu_pytorch_tanh"),
        },
        (divides("num_attention_heads", "hidden_size"), _has_patches),
        _DEFAULTS,
        _size,
        1e10,
    )
    checkpoint_names = CheckpointNames(unused=r"^text_model\.|^logit_(?:scale|bias)$|position_ids$")

    def __init__(self, hidden_act: str = "gelu_pytorch_tanh", **options: Any) -> None:
        super().__init__()
        self.option_rules.check({"hidden_act": hidden_act, **options}, "SiglipVisionModel")
        options = {**_DEFAULTS, **options}
        # paddlenlp's name of the same function; the encoder is that of CLIP.
        self.vision_model = _VisionTransformer(CLIPVisionConfig(**options, hidden_act="gelu_new"))
        self.image_size, self.hidden_size = options["image_size"], options["hidden_size"]

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        """Pooled output of pictures.

        Args:
            pixel_values: (batch, channels, image_size, image_size), from -1 to 1.

        Returns:
            (batch, hidden_size).
        """
        return self.vision_model(pixel_values)


class _VisionTransformer(nn.Layer):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.head = _AttentionPooling(config)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        hidden = self.embeddings(pixel_values)  # (batch, patches, width)
        hidden = self.encoder(inputs_embeds=hidden, return_dict=False)[0]
        return self.head(self.post_layernorm(hidden))  # (batch, width)


class _Embeddings(nn.Layer):
    def __init__(self, config: Any) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv2D(config.num_channels, width, patch, stride=patch)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2, width)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        patches = self.patch_embedding(pixel_values)  # (batch, width, rows, columns)
        return patches.flatten(2).transpose([0, 2, 1]) + self.position_embedding.weight


class _AttentionPooling(nn.Layer):
    """One learnt query that attends to all tokens."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.probe = self.create_parameter([1, 1, width])
        self.attention = _TorchAttention(width, config.num_attention_heads)
        self.layernorm = nn.LayerNorm(width, epsilon=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)

    def forward(self, hidden: paddle.Tensor) -> paddle.Tensor:
        pooled = self.attention(self.probe.expand([hidden.shape[0], 1, -1]), hidden)  # (batch, 1, width)
        return (pooled + self.mlp(self.layernorm(pooled)))[:, 0]


class _TorchAttention(nn.Layer):
    """Attention with the parameters of torch's `MultiheadAttention`: queries, keys and values in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # As torch has it, (out, in): only the weights of `Linear` are transposed when they are loaded.
        self.in_proj_weight = self.create_parameter([3 * width, width])
        self.in_proj_bias = self.create_parameter([3 * width], is_bias=True)
        self.out_proj = nn.Linear(width, width)

    def forward(self, query: paddle.Tensor, hidden: paddle.Tensor) -> paddle.Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        inputs = (query, hidden, hidden)
        q, k, v = (self._split(x @ w.T + b) for x, w, b in zip(inputs, weights, biases))  # (batch, heads, n, d)
        scores = F.softmax(q @ k.transpose([0, 1, 3, 2]) * q.shape[-1] ** -0.5, axis=-1)  # (batch, heads, 1, n)
        return self.out_proj((scores @ v).transpose([0, 2, 1, 3]).flatten(2))

    def _split(self, x: paddle.Tensor) -> paddle.Tensor:
        return x.reshape([x.shape[0], x.shape[1], self.heads, -1]).transpose([0, 2, 1, 3])


class AestheticHead(nn.Layer):
    """Rates a picture by SigLIP's pooled output: about 1 to 10, above 5.5 looks good.

    Five linear layers without activations between; the published dropout is of training alone.

    Args:
        hidden_size: of the pooled output.
    """

    def __init__(self, hidden_size: int = 1152) -> None:
        super().__init__()
        layers: list[nn.Layer] = []
        for inner, outer in zip((hidden_size, *_WIDTHS), _WIDTHS):
            layers += [nn.Linear(inner, outer), nn.Identity()]  # dropout, so that names are those of the file
        self.scoring_head = nn.Sequential(*layers[:-1])

    def forward(self, pooled: paddle.Tensor) -> paddle.Tensor:
        """(batch, hidden_size) -> (batch,)."""
        return self.scoring_head(pooled / pooled.norm(axis=-1, keepdim=True))[:, 0]
