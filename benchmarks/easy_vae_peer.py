"""The decoder of EasyAnimate V4's autoencoder in torch, as one would write it there: convolutions over frames.

Imported by a Python without this project's requirements; it works on the weights that ours has, by the same names.
"""

EPSILON = 1e-6
GROUPS = 32
BEFORE = 2  # frames that a convolution looks back
IN_TIME = (1, 2)  # levels after which there are twice as many frames


class Decoder:
    """Videos from latents, chunk by chunk; each goes on where the one before ended.

    Args:
        weights: name -> tensor, matrices of linear layers as Paddle has them, (in, out).
        levels: of the decoder.
    """

    def __init__(self, weights, levels):
        self._weights, self._levels, self._kept = weights, levels, {}

    def __call__(self, latents, size):
        """(batch, 4, frames, height, width), frames of a chunk -> an iterator of (batch, 3, frames', height', ...)."""
        self._kept = {}
        for z in latents.split(size, dim=2):
            yield self._decode(z).clamp(-1, 1)

    def _decode(self, z):
        x = self._conv("decoder.conv_in", self._point("post_quant_conv", z))
        x = self._residual("decoder.mid_block.convs.0", x)
        for i in range(self._count("decoder.mid_block.convs") - 1):
            x = self._attend(f"decoder.mid_block.attentions.{i}", x)
            x = self._residual(f"decoder.mid_block.convs.{i + 1}", x)
        for level in range(self._levels):
            for i in range(self._count(f"decoder.up_blocks.{level}.convs")):
                x = self._residual(f"decoder.up_blocks.{level}.convs.{i}", x)  # (batch, channels, frames, ...)
            if level < self._levels - 1:
                x = self._upsample(f"decoder.up_blocks.{level}.upsampler.conv", x, level in IN_TIME)
        return self._conv("decoder.conv_out", self._norm("decoder.conv_norm_out", x))

    def _count(self, name):
        return len({key.removeprefix(f"{name}.").split(".")[0] for key in self._weights if key.startswith(f"{name}.")})

    def _residual(self, name, x):
        y = self._conv(f"{name}.conv1", self._norm(f"{name}.norm1", x))
        y = self._conv(f"{name}.conv2", self._norm(f"{name}.norm2", y))
        return (self._point(f"{name}.shortcut", x) if f"{name}.shortcut.weight" in self._weights else x) + y

    def _upsample(self, name, x, in_time):
        import torch.nn.functional as F

        x = self._conv(name, F.interpolate(x, scale_factor=(1, 2, 2)))
        return F.interpolate(x, scale_factor=(2, 1, 1), mode="trilinear") if in_time else x

    def _attend(self, name, x):
        import torch.nn.functional as F

        weights = {part: self._weights[f"{name}.{part}.weight"].t() for part in ("to_q", "to_k", "to_v", "to_out")}
        biases = {part: self._weights[f"{name}.{part}.bias"] for part in weights}
        y = self._group_norm(f"{name}.group_norm", x).flatten(2).transpose(1, 2)  # (batch, tokens, channels)
        query, key, value = (
            F.linear(y, weights[part], biases[part]).unsqueeze(1) for part in ("to_q", "to_k", "to_v")
        )
        y = F.scaled_dot_product_attention(query, key, value).squeeze(1)
        return x + F.linear(y, weights["to_out"], biases["to_out"]).transpose(1, 2).reshape(x.shape)

    def _conv(self, name, x):
        """A convolution of 3x3x3, before the first frame of which stands itself, or what the chunk before had."""
        import torch
        import torch.nn.functional as F

        before = self._kept.get(name)
        x = torch.cat([x[:, :, :1].expand(-1, -1, BEFORE, -1, -1) if before is None else before, x], dim=2)
        self._kept[name] = x[:, :, -BEFORE:].clone()
        return F.conv3d(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], padding=(0, 1, 1))

    def _point(self, name, x):
        import torch.nn.functional as F

        return F.conv3d(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name, x):
        import torch.nn.functional as F

        return F.silu(self._group_norm(name, x))

    def _group_norm(self, name, x):
        import torch.nn.functional as F

        return F.group_norm(x, GROUPS, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], EPSILON)
