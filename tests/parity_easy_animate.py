"""Runners of the EasyAnimate golden cases: each yields (tensor name, ours, the original's, tolerance)."""

import paddle

from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
from ppdiffusers_ext.models.easy_animate.positions import rotations
from ppdiffusers_ext.pipelines.loading import known_options

MODULE = 1e-4


def v4_transformer(case):
    """As it was when V4 was published (`outputs_v4era`), and as the newer tree has it (`outputs`)."""
    options = known_options(HunyuanTransformer3D, case.config)
    for name, first in (("outputs_v4era", True), ("outputs", False)):
        model = case.fill("transformer", HunyuanTransformer3D(**options, rotates_first_block=first))
        for tensor, ours, expected, tolerance in _of_a_tree(case, model, case.tensors(name)):
            yield f"{name}.{tensor}", ours, expected, tolerance


def _of_a_tree(case, model, outputs):
    inputs = case.tensors("inputs")
    names = ("hidden_states", "timestep", "encoder_hidden_states", "text_embedding_mask", "encoder_hidden_states_t5")
    names += ("text_embedding_mask_t5", "image_meta_size", "inpaint_latents", "clip_encoder_hidden_states")
    names += ("clip_attention_mask",)
    given = {name: inputs[name] for name in names if name in inputs}
    height, width = (side // 2 for side in given["hidden_states"].shape[3:])
    rotation = rotations(height, width, model.config.attention_head_dim, model.config.sample_size)
    for ours, name in zip(rotation, ("rope_cos", "rope_sin")):
        yield name, ours, inputs[name], MODULE
    seen, hooks = {}, []
    for i, block in enumerate(model.blocks):
        hooks.append(block.register_forward_post_hook(lambda _, __, y, i=i: seen.update({f"block_{i:02d}": y})))
    for name, layer in (("temb", model.time_extra_emb), ("pooled_t5", model.time_extra_emb.pooler)):
        hooks.append(layer.register_forward_post_hook(lambda _, __, y, name=name: seen.update({name: y})))
    seen["sample"] = model(**given, rotation=rotation)
    for hook in hooks:
        hook.remove()
    for name, ours in seen.items():
        if name in outputs:
            yield name, ours, outputs[name], MODULE
    if "clip_projected" in outputs:
        clip = model.clip_projection(given["clip_encoder_hidden_states"])
        yield "clip_projected", clip, outputs["clip_projected"], MODULE
    if "sample_single_frame" in outputs:
        cut = {name: given[name][:, :, :1] for name in ("hidden_states", "inpaint_latents") if name in given}
        yield "sample_single_frame", model(**{**given, **cut}, rotation=rotation), outputs["sample_single_frame"], MODULE
    if "sample_clip_masked_zero_inpaint" in outputs:
        names = ("inpaint_latents", "clip_encoder_hidden_states", "clip_attention_mask")
        zeros = {name: paddle.zeros_like(given[name]) for name in names}
        sample = model(**{**given, **zeros}, rotation=rotation)
        yield "sample_clip_masked_zero_inpaint", sample, outputs["sample_clip_masked_zero_inpaint"], MODULE


RUNNERS = {"v4_transformer": v4_transformer}
NOT_YET = (
    "data_buckets",
    "data_filters",
    "lora_v4",
    "schedulers",
    "training_loss",
    "v1",
    "v2",
    "v3",
    "v4_pipeline",
    "v4_vae",
)
