"""EasyAnimate V4's transformer in torch, as one would write it there: with torch's scaled_dot_product_attention.

Imported by a Python without this project's requirements; it works on the weights that ours has, by the same names.
"""

EPSILON = 1e-6
PATCH = 2
LAYERS = 40  # of V4


class Network:
    """One step, for what a clip's conditions are.

    Args:
        weights: name -> tensor, matrices of linear layers as Paddle has them, (in, out).
        num_layers, num_heads: of the network.
    """

    def __init__(self, weights, num_layers, num_heads):
        is_matrix = {
            name
            for name, tensor in weights.items()
            if tensor.ndim == 2 and name.endswith(".weight") and "style_embedder" not in name
        }
        self._weights = {name: x.t().contiguous() if name in is_matrix else x for name, x in weights.items()}
        self._num_layers, self._num_heads = num_layers, num_heads

    def __call__(self, latents, given):
        """(batch, 4, frames, height, width), name -> tensor of conditions and "time" -> (batch, 8, frames, ...).

        Without "known" and "clip" it is the network of text to video.
        """
        import torch
        import torch.nn.functional as F

        batch, _, frames, height, width = latents.shape
        x = torch.cat([latents, given["known"]], dim=1) if "known" in given else latents
        x = x.transpose(1, 2).flatten(0, 1)  # (batch * frames, 12 or 4, height, width)
        x = F.conv2d(x, self._weights["pos_embed.proj.weight"], self._weights["pos_embed.proj.bias"], stride=PATCH)
        x = x.flatten(2).transpose(1, 2).reshape(batch, -1, x.shape[1])  # (batch, frames * tokens, channels)
        time = self._mlp("time_extra_emb.timestep_embedder", given["time"]) + given["extra"]  # (batch, channels)
        given = {**given, "time": F.silu(time)}
        skips, half = [], self._num_layers // 2
        for i in range(self._num_layers):
            x = self._block(f"blocks.{i}", x, given, skips.pop() if i > half else None)
            if i < half - 1:
                skips.append(x)
        scale, shift = self._linear("norm_out.linear", given["time"]).unsqueeze(1).chunk(2, dim=-1)
        x = F.layer_norm(x, x.shape[-1:], eps=EPSILON) * (1 + scale) + shift
        x = self._linear("proj_out", x).reshape(batch, frames, height // PATCH, width // PATCH, PATCH, PATCH, -1)
        return x.permute(0, 6, 1, 2, 4, 3, 5).reshape(batch, -1, frames, height, width)

    def _block(self, name, x, given, skip):
        import torch
        import torch.nn.functional as F

        if skip is not None:
            x = self._linear(f"{name}.skip_linear", self._norm(f"{name}.skip_norm", torch.cat([x, skip], dim=-1)))
        if "frames" in given:
            frames = given["frames"]
            x = (x.unflatten(1, (frames.shape[0], -1)) + frames.unsqueeze(1)).flatten(1, 2)
        shift = self._linear(f"{name}.norm1.linear", given["time"]).unsqueeze(1)
        y = self._norm(f"{name}.norm1.norm", x) + shift
        x = x + self._attend(f"{name}.attn1", y, y, given, turns_keys=True)
        x = x + self._attend(f"{name}.attn2", self._norm(f"{name}.norm2", x), given["text"], given)
        if "clip" in given:
            x = x + self._of_clip(name, x, given)
        y = F.gelu(self._linear(f"{name}.ff.net.0.proj", self._norm(f"{name}.norm3", x)), approximate="tanh")
        return x + self._linear(f"{name}.ff.net.2", y)

    def _of_clip(self, name, x, given):
        """What CLIP's tokens add."""
        import torch.nn.functional as F

        y = self._attend(f"{name}.attn_clip", self._norm(f"{name}.norm_clip", x), given["clip"], given)
        y = F.layer_norm(  # whose epsilon is the width, as in the original
            y,
            y.shape[-1:],
            self._weights[f"{name}.gate_clip.norm.weight"],
            self._weights[f"{name}.gate_clip.norm.bias"],
            y.shape[-1],
        )
        values, gate = self._linear(f"{name}.gate_clip.proj", y).chunk(2, dim=-1)
        return self._norm(f"{name}.norm_clip_out", values * F.gelu(gate))

    def _attend(self, name, x, context, given, turns_keys=False):
        import torch.nn.functional as F

        query = self._rotate(self._heads(f"{name}.norm_q", self._linear(f"{name}.to_q", x)), given)
        key = self._heads(f"{name}.norm_k", self._linear(f"{name}.to_k", context))
        key = self._rotate(key, given) if turns_keys else key
        value = self._heads(None, self._linear(f"{name}.to_v", context))
        x = F.scaled_dot_product_attention(query, key, value)  # (batch, heads, tokens, head channels)
        return self._linear(f"{name}.to_out.0", x.transpose(1, 2).flatten(2))

    def _heads(self, norm, x):
        x = x.unflatten(2, (self._num_heads, -1))
        return (x if norm is None else self._norm(norm, x)).transpose(1, 2)  # (batch, heads, tokens, head channels)

    def _rotate(self, x, given):
        import torch

        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([-second, first], dim=-1).flatten(3)
        return x * given["cosines"] + turned * given["sines"]

    def _mlp(self, name, x):
        import torch.nn.functional as F

        return self._linear(f"{name}.linear_2", F.silu(self._linear(f"{name}.linear_1", x)))

    def _linear(self, name, x):
        import torch.nn.functional as F

        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name, x):
        import torch.nn.functional as F

        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, EPSILON)
