"""Networks of paddlenlp and ppdiffusers that the systems use as they are: the names in their published checkpoints."""

from paddlenlp.transformers import BertModel, T5EncoderModel
from paddlenlp.transformers import CLIPVisionModelWithProjection as PaddlenlpCLIP
from ppdiffusers import AutoencoderKL
from ppdiffusers.transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from ppdiffusers_ext.weights.declaration import CheckpointNames, Renamed
from ppdiffusers_ext.weights.lora_names import T5_ENCODER

# Norms as TensorFlow called them, in old files of transformers' encoders, which still reads them.
_OLD_NORMS: Renamed = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
# paddlenlp's CLIP -> transformers' (which ppdiffusers' CLIP follows).
_CLIP = CheckpointNames(
    renamed=(
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
    ),
    unused=r"position_ids$|^text_|^logit_scale$",
)
_CLIP_TEXT = CheckpointNames(
    renamed=_OLD_NORMS, unused=r"position_ids$|^vision_model\.|^visual_projection|^logit_scale$"
)
# VAEs saved before diffusers 0.17 call their attention differently.
_VAE = CheckpointNames(
    renamed=(
        (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
        (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
        (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
        (r"(attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
    )
)
# transformers' BERT -> paddlenlp's.
_BERT = CheckpointNames(
    renamed=(
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
    ),
    unused=r"^embeddings\.position_ids$|^pooler\.|^cls\.",
    layers=(
        (r"^encoder\.layers\.", "encoder.layer."),
        (r"\.self_attn\.q_proj$", ".attention.self.query"),
        (r"\.self_attn\.k_proj$", ".attention.self.key"),
        (r"\.self_attn\.v_proj$", ".attention.self.value"),
        (r"\.self_attn\.out_proj$", ".attention.output.dense"),
        (r"\.linear1$", ".intermediate.dense"),
        (r"\.linear2$", ".output.dense"),
    ),
)
_T5 = CheckpointNames(
    renamed=(*_OLD_NORMS, (r"^encoder\.embed_tokens\.", "shared.")),
    unused=r"^decoder\.|^lm_head\.",
    lora_networks=(T5_ENCODER,),
)
CHECKPOINT_NAMES: dict[type, CheckpointNames] = {
    CLIPVisionModelWithProjection: _CLIP,
    PaddlenlpCLIP: _CLIP,
    CLIPTextModelWithProjection: _CLIP_TEXT,
    AutoencoderKL: _VAE,
    BertModel: _BERT,
    T5EncoderModel: _T5,
}
