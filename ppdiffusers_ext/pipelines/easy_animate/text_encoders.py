"""Text encoders from paddlenlp, made to compute what transformers' do, and to load transformers' files."""

import functools
import os
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn
from paddlenlp.transformers import BertConfig, BertModel, T5Config, T5EncoderModel
from paddlenlp.transformers.t5.modeling import T5LayerNorm, T5Stack

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.models.layers import compute_dtype, follow
from ppdiffusers_ext.pipelines.easy_animate.prompts import Tokenizer
from ppdiffusers_ext.pipelines.loading import known_options


def make_bert(config: dict[str, Any], source: str | os.PathLike = "the configuration") -> nn.Layer:
    """A `BertModel` without a pooler, of a `config.json`, as a dict.

    Raises InputError, which begins with `source`, for another kind of BERT.
    """
    _check(config, source, "BERT", {"hidden_act": ("gelu",), "position_embedding_type": ("absolute",)})
    config = {"type_vocab_size": 2, **config}  # paddlenlp's would be 16 where it is not said
    model = BertModel(BertConfig(**known_options(BertConfig, config, source)))
    model.pooler = nn.Identity()  # only the last hidden states are asked for
    for layer in model.sublayers():
        if isinstance(layer, nn.LayerNorm):  # whose epsilon paddlenlp leaves at Paddle's
            layer._epsilon = model.config.layer_norm_eps
    return _finished(model, config)


def make_t5(config: dict[str, Any], source: str | os.PathLike = "the configuration") -> nn.Layer:
    """A `T5EncoderModel`, of T5 or mT5, of a `config.json`, as a dict. Raises InputError as `make_bert`."""
    _check(config, source, "T5", {"feed_forward_proj": ("relu", "gated-gelu", "gated-silu")})
    model = T5EncoderModel(T5Config(**known_options(T5Config, config, source)))
    distance = config.get("relative_attention_max_distance", 128)  # which paddlenlp takes for 128 always
    for layer in model.sublayers():
        if hasattr(layer, "_relative_position_bucket"):
            layer._relative_position_bucket = functools.partial(layer._relative_position_bucket, max_distance=distance)
        if type(layer) is T5LayerNorm:
            layer.__class__ = _RootNorm
    # One table, which paddlenlp lists under two names.
    del model.encoder.embed_tokens
    object.__setattr__(model.encoder, "embed_tokens", model.shared)
    model.encoder.__class__ = _Stack
    return _finished(model, config)


def encode(tokenizer: Tokenizer, encoder: nn.Layer, texts: Sequence[str]) -> tuple[paddle.Tensor, paddle.Tensor]:
    """What a text encoder sees in texts. Gradients are those of its trained parameters, if it has any.

    Args:
        tokenizer: a `Tokenizer`.
        encoder: paddlenlp's `BertModel` or `T5EncoderModel` that it belongs to.
        texts: a list of str, which may be empty.

    Returns:
        states, mask: (batch, length, channels), and int64 (batch, length), which is 0 where there is no text.

    Raises:
        InputError: something is no text, or the tokenizer is of another encoder.
    """
    ids, mask = tokenizer(texts)
    known = encoder.get_input_embeddings().weight.shape[0]
    if int(ids.max()) >= known:
        raise InputError(
            f"the tokenizer gives token {int(ids.max())} and the {tokenizer.kind} knows {known}; the tokenizer of the "
            "same model is needed"
        )
    return encoder(ids, attention_mask=mask)[0], mask


def _check(config: dict[str, Any], source: str | os.PathLike, name: str, accepted: dict[str, tuple[str, ...]]) -> None:
    for key, values in accepted.items():
        if config.get(key, values[0]) not in values:
            value = shown(config[key])
            raise InputError(f"{source}: a {name} of {key} {value} is not known; {' or '.join(values)} is accepted")


def _finished(model: Any, config: dict[str, Any]) -> Any:
    model.source_config = dict(config)  # what is saved: paddlenlp's own leaves out what it does not know
    for layer in model.sublayers():
        if type(layer) is nn.Embedding:
            layer.__class__ = _Embedding
    return use_own_layers(model)


class _Embedding(nn.Embedding):
    """A table whose rows come in the dtype in which the network computes."""

    def forward(self, ids: paddle.Tensor) -> paddle.Tensor:
        return super().forward(ids).astype(compute_dtype(self.weight))


class _RootNorm(T5LayerNorm):
    """T5's norm in fp32, in the dtype of the activations behind it; paddlenlp's knows fp16 alone."""

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        whole = hidden_states.astype(paddle.float32)
        normed = whole * paddle.rsqrt((whole * whole).mean(axis=-1, keepdim=True) + self.variance_epsilon)
        return follow(self.weight, hidden_states) * normed.astype(hidden_states.dtype)


class _Stack(T5Stack):
    """T5's layers, whose mask is in the dtype in which they compute."""

    @property
    def dtype(self) -> Any:
        return compute_dtype(self.embed_tokens.weight)
