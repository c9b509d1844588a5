"""Names and layouts of published checkpoints, and what they are called in this project's classes, both ways.

The project's own classes have the original's names. What remains to be mapped: Linear weights of torch files are
transposed; paddlenlp names CLIP's layers differently; VAEs saved before diffusers 0.17 call their attention
differently; some trainers put a prefix before every name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.arrays import are_equal
from ppdiffusers_ext.weights.selection import KNOWN

if TYPE_CHECKING:
    from paddle import nn


logger = logging.getLogger(__name__)

# Prefixes that a wrapper (data parallel training, a trainer of several networks) puts before every name of a file.
_WRAPPERS = (
    *("module.", "denoising_unet.", "reference_unet.", "pose_guider.", "motion_module."),
    *sorted(f"{name}." for name in KNOWN - {"module"}),
)
# What torch.compile, FSDP and activation checkpointing write into the names of the layers that they wrap.
_INSERTED = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

# Norms as TensorFlow called them, in old files of transformers' encoders, which still reads them.
_OLD_NORMS = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
# paddlenlp's CLIP -> transformers' (which ppdiffusers' CLIP follows), applied in this order.
_CLIP_NAMES = (
    *_OLD_NORMS,
    (r"^vision_model\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^vision_model\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^vision_model\.positional_embedding\.", "vision_model.embeddings.position_embedding."),
    (r"^vision_model\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^vision_model\.ln_post\.", "vision_model.post_layernorm."),
    (r"^vision_model\.transformer\.layers\.(\d+)\.norm([12])\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
    (r"^vision_model\.transformer\.layers\.(\d+)\.linear([12])\.", r"vision_model.encoder.layers.\1.mlp.fc\2."),
    (r"^vision_model\.transformer\.layers\.", "vision_model.encoder.layers."),
    (r"^vision_projection$", "visual_projection.weight"),
)
_VAE_NAMES = (
    (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
)
# transformers' BERT -> paddlenlp's.
_BERT_NAMES = (
    *_OLD_NORMS,
    (r"^bert\.", ""),
    (r"^embeddings\.LayerNorm\.", "embeddings.layer_norm."),
    (r"^encoder\.layer\.", "encoder.layers."),
    (r"\.attention\.self\.(query|key|value)\.", lambda found: f".self_attn.{found[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".self_attn.out_proj."),
    (r"\.attention\.output\.LayerNorm\.", ".norm1."),
    (r"\.intermediate\.dense\.", ".linear1."),
    (r"(\.layers\.\d+)\.output\.dense\.", r"\1.linear2."),
    (r"(\.layers\.\d+)\.output\.LayerNorm\.", r"\1.norm2."),
)
_T5_NAMES = (*_OLD_NORMS, (r"^encoder\.embed_tokens\.", "shared."))
# paddlenlp's layers of BERT -> transformers'.
_BERT_LAYERS = (
    (r"^encoder\.layers\.", "encoder.layer."),
    (r"\.self_attn\.q_proj$", ".attention.self.query"),
    (r"\.self_attn\.k_proj$", ".attention.self.key"),
    (r"\.self_attn\.v_proj$", ".attention.self.value"),
    (r"\.self_attn\.out_proj$", ".attention.output.dense"),
    (r"\.linear1$", ".intermediate.dense"),
    (r"\.linear2$", ".output.dense"),
)
_BATCH_NORM_NAMES = ((r"\.running_mean$", "._mean"), (r"\.running_var$", "._variance"))
_NAMES = {
    "CLIPVisionModelWithProjection": _CLIP_NAMES,
    "AutoencoderKL": _VAE_NAMES,
    "BertModel": _BERT_NAMES,
    "T5EncoderModel": _T5_NAMES,
    "IResNet": (*_BATCH_NORM_NAMES, (r"\bprelu\.weight$", "prelu._weight")),
    "RetinaFace": _BATCH_NORM_NAMES,
}

# Tensors that some files hold and a class has no use for: tables that it computes, a head that it does not have.
_UNUSED = {
    "CLIPVisionModelWithProjection": re.compile(r"position_ids$|^text_|^logit_scale$"),
    "ReferenceUNet": re.compile(r"^(conv_norm_out|conv_out)\."),
    "IResNet": re.compile(r"\.num_batches_tracked$"),
    "RetinaFace": re.compile(r"\.num_batches_tracked$"),
    "BertModel": re.compile(r"^embeddings\.position_ids$|^pooler\.|^cls\."),
    "T5EncoderModel": re.compile(r"^decoder\.|^lm_head\."),
    "AutoencoderKLMagvit": re.compile(r"^loss\."),  # what it was trained with
    "PixArtTransformer3D": re.compile(r"\.pos_encoder\.pe$|^pos_embed\.pos_embed$"),
    "HunyuanTransformer3D": re.compile(r"\.t_embed\.pe$|^clip_projection\.pos_embed$"),
}


def transposed_names(model: nn.Layer) -> set[str]:
    """Names of the tensors that torch stores as (out, in) and Paddle as (in, out)."""
    return {f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}


def names_in_model(model: nn.Layer, tensors: Mapping[str, Any], source: Any = "the file") -> dict[str, str]:
    """What the tensors of a checkpoint are called in a model: a dict, without those that it has no use for.

    Args:
        model: the layer that the tensors are for.
        tensors: name -> `paddle.Tensor`.
        source: where they are from, for messages.

    Raises:
        InputError: two have one name in the model, and are not equal; or they have when what a wrapper added to it is
            left out.
    """
    kind = type(model).__name__
    unused = _UNUSED.get(kind)
    found: dict[str, list] = {}
    bare = _without_wrappers(model, tensors, source)
    for original in tensors:
        name = bare[original]
        for pattern, replacement in _NAMES.get(kind, ()):
            name = re.sub(pattern, replacement, name)
        if unused is None or not unused.search(name):
            found.setdefault(name, []).append(original)
    renamed = {}
    for name, originals in found.items():
        first = next((original for original in originals if bare[original] == name), originals[0])
        for original in originals:
            if original != first and not are_equal(tensors[first], tensors[original]):
                raise InputError(
                    f"{source} has two tensors for {name}, {first} and {original}, which differ; one is accepted, or "
                    "the same under both names"
                )
        renamed[first] = name
    return renamed


def _without_wrappers(model, names, source):
    """The names, each with what is left of it without wrappers; a note says what was left out."""
    bare = {name: _INSERTED.sub("", name) for name in names}
    left_out = sorted({found for name in names for found in _INSERTED.findall(name)})
    while prefix := next((each for each in _WRAPPERS if _is_before_all(each, bare.values(), model)), None):
        bare = {name: rest[len(prefix) :] for name, rest in bare.items()}
        left_out.append(prefix)
    if left_out:
        logger.info(
            "%s of the weights' names is left out, to have those of %s", " ".join(left_out), type(model).__name__
        )
    if len(set(bare.values())) < len(bare):
        seen: dict = {}
        twice = next((seen[rest], name) for name, rest in bare.items() if seen.setdefault(rest, name) != name)
        raise InputError(f"{source} has {twice[0]} and {twice[1]}, which are one name here; one is accepted")
    return bare


def _is_before_all(prefix, names, model):
    return (
        bool(names)
        and all(name.startswith(prefix) for name in names)
        and not any(name.startswith(prefix) for name in model.state_dict())
    )


def original_layer_name(model: nn.Layer, name: str) -> str:
    """What a layer of a model is called in the original: most have its name."""
    for pattern, replacement in _BERT_LAYERS if type(model).__name__ == "BertModel" else ():
        name = re.sub(pattern, replacement, name)
    return name


def to_paddle_names(
    model: nn.Layer, tensors: Mapping[str, Any], layout: str, source: Any = "the file"
) -> dict[str, Any]:
    """Rename and transpose the tensors of a checkpoint for a model: a new dict, of views.

    Args:
        model: the layer that the tensors are for.
        tensors: name -> `paddle.Tensor`.
        layout: "torch" or "paddle".
        source: see `names_in_model`, also for errors.
    """
    renamed = {name: tensors[original] for original, name in names_in_model(model, tensors, source).items()}
    return transpose(renamed, transposed_names(model)) if layout == "torch" else renamed


def transpose(tensors: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The tensors, those of two axes among the names transposed: from torch's layout to Paddle's, and back."""
    return {name: tensor.t() if name in names and tensor.ndim == 2 else tensor for name, tensor in tensors.items()}
