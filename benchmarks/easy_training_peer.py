"""The contestant of `train_step --system easy_animate` in torch: `dit_peer`'s network, of which everything learns.

Only the Python that has torch imports this module.
"""

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from benchmarks import dit_peer
from benchmarks.contestant import versions
from benchmarks.easy_training import PREDICTED, inputs, run_steps
from benchmarks.training_networks import LEARNING_RATE, WEIGHT_DECAY

_POOL_HEADS = 8
_EPSILON = 1e-5  # of the resampler's norms


class Network(dit_peer.Network):
    """The network with what it makes of texts and of CLIP's tokens, which `dit_peer` is given.

    Args:
        weights, num_layers, num_heads: as there.
        tables: name -> tensor of fixed numbers.
    """

    def __init__(self, weights, num_layers, num_heads, tables):
        super().__init__(weights, num_layers, num_heads)
        self._tables = tables
        for tensor in self._weights.values():
            tensor.requires_grad_()

    def named_parameters(self):
        return self._weights.items()

    def parameters(self):
        return list(self._weights.values())

    def predict(self, given):
        """Name -> tensor of `inputs` -> (batch, 8, frames, height, width)."""
        mask = torch.cat([given["mask"], given["mask_2"]], dim=1).bool().unsqueeze(2)
        text = torch.cat([given["states"], self._mlp("text_embedder", given["states_2"])], dim=1)
        text = torch.where(mask, text, self._weights["text_embedding_padding"])
        style = self._weights["time_extra_emb.style_embedder.weight"].expand(text.shape[0], -1)
        extra = torch.cat([self._pool(given["states_2"]), self._tables["sizes"], style], dim=1)
        conditions = {
            "text": text,
            "extra": self._mlp("time_extra_emb.extra_embedder", extra),
            "clip": torch.where(
                given["clip_mask"].bool().unsqueeze(2), self._resample(given["clip"]), self._weights["clip_padding"]
            ),
            "known": given["known"],
            "time": self._tables["times"],
            **{name: self._tables[name] for name in ("cosines", "sines", "frames") if name in self._tables},
        }
        return self(given["noisy"], conditions)

    def _pool(self, x):
        """(batch, tokens, channels) -> (batch, outputs)."""
        name = "time_extra_emb.pooler"
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self._weights[f"{name}.positional_embedding"]
        query = self._linear(f"{name}.q_proj", x[:, :1])
        key, value = (self._linear(f"{name}.{part}_proj", x) for part in "kv")
        return self._linear(f"{name}.c_proj", _attend(query, key, value, _POOL_HEADS)).squeeze(1)

    def _resample(self, tokens):
        """(batch, tokens, channels) of CLIP -> (batch, queries, channels)."""
        name = "clip_projection"
        if f"{name}.kv_proj.weight" in self._weights:
            tokens = F.linear(tokens, self._weights[f"{name}.kv_proj.weight"])
        values = self._resampler_norm("ln_kv", tokens)
        query = self._resampler_norm("ln_q", self._weights[f"{name}.query"]) + self._tables["places"]
        query = query.expand(tokens.shape[0], -1, -1)
        weights = self._weights[f"{name}.attn.in_proj_weight"].chunk(3)
        biases = self._weights[f"{name}.attn.in_proj_bias"].chunk(3)
        seen = (query, values + self._tables["places_of_keys"], values)
        projected = [F.linear(x, weight, bias) for x, weight, bias in zip(seen, weights, biases)]
        return self._linear(f"{name}.attn.out_proj", _attend(*projected, self._num_heads))

    def _resampler_norm(self, name, x):
        weight, bias = (self._weights[f"clip_projection.{name}.{part}"] for part in ("weight", "bias"))
        return F.layer_norm(x, weight.shape, weight, bias, _EPSILON)


def _attend(query, key, value, heads):
    split = [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value)]
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def torch_training(settings):
    torch.set_num_threads(settings["threads"])
    with np.load(settings["tables"]) as arrays:
        tables = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    options = settings["network"]
    network = Network(load_file(settings["weights"]), options["num_layers"], options["num_attention_heads"], tables)
    given = {name: torch.from_numpy(array) for name, array in inputs(settings).items()}
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def backward():
        prediction = network.predict(given)
        loss = F.mse_loss(prediction[:, :PREDICTED], given["target"])
        loss.backward()
        return prediction.detach().numpy(), float(loss.detach())

    def update():
        optimizer.step()
        optimizer.zero_grad()

    row = run_steps(network, network.parameters(), backward, update, settings)
    row["versions"] = versions("torch")
    return row


CONTESTANTS = {"torch_sdpa": torch_training}
