"""Small checkpoints of EasyAnimate in the original's form, from the goldens' networks."""

import json
from pathlib import Path

import numpy as np

from ppdiffusers_ext.pipelines.easy_animate.loading import MOTION_MODULE
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch
from tests.support.golden import read_manifest
from tests.support.vocabularies import write_bert, write_t5

GOLDENS = Path(__file__).parents[1] / "goldens" / "easy_animate"
WHOLE = GOLDENS / "v4_pipeline_inpaint"
V4_TEXT = {"text_encoder": (WHOLE, "text_encoder"), "text_encoder_2": (WHOLE, "text_encoder_2")}
T5, CLIP = {"text_encoder": (WHOLE, "text_encoder_2")}, {"image_encoder": (WHOLE, "image_encoder")}
# version -> part -> (golden case, name of its weights)
PARTS = {
    "v4": {"transformer": (WHOLE, "transformer"), "vae": (WHOLE, "vae"), **V4_TEXT, **CLIP},
    "v4_t2v": {
        "transformer": (GOLDENS / "v4_pipeline_t2v", "transformer"),
        "vae": (GOLDENS / "v4_pipeline_t2v", "vae"),
        **V4_TEXT,
    },
    "v3": {
        "transformer": (GOLDENS / "v3_transformer_inpaint", "transformer"),
        "vae": (GOLDENS / "v3_vae", "vae"),
        **T5,
        **CLIP,
    },
    "v2": {
        "transformer": (GOLDENS / "v2_transformer", "transformer"),
        "vae": (GOLDENS / "v2_vae", "vae"),
        **T5,
    },
    "v1": {
        "transformer": (GOLDENS / "v1_transformer", "transformer"),
        "vae": (GOLDENS / "v1_vae", "vae"),
        **T5,
    },
}
CLIP_OF_PARTS = ("image_encoder", "text_encoder", "text_encoder_2")
OF_MOTION = ("basic_block_type", "enable_uvit", "motion_module_type", "motion_module_kwargs")
OF_MOTION += ("patch_3d", "fake_3d", "time_position_encoding_before_transformer")
SCHEDULERS = json.loads((GOLDENS / "schedulers" / "config.json").read_text())


def config_of(case, part):
    config = json.loads((case / "config.json").read_text())
    return config.get(part, config)


def weights_of(case, part):
    return read_manifest(case / json.loads((case / "weights.json").read_text())[part])


def _narrowed(config, arrays):
    """A T5 of the width that the networks before V4 take, 24 instead of 32, which is one head less."""
    config = {**config, "d_model": 24, "num_heads": 3}
    heads = {name: x[:, :3] if name.endswith("relative_attention_bias.weight") else x for name, x in arrays.items()}
    return config, {name: x[tuple(slice(24 if n == 32 else n) for n in x.shape)] for name, x in heads.items()}


def write_easy(folder, version):
    """A folder of a version in the original's form; returns file -> name -> array."""
    files = {}
    for part, (case, name) in PARTS[version].items():
        config, arrays = config_of(case, name), weights_of(case, name)
        if part == "text_encoder" and not version.startswith("v4"):
            config, arrays = _narrowed(config, arrays)
        if part == "image_encoder" and not version.startswith("v4"):  # of whose view these see the projection
            name = "visual_projection.weight"
            config = {**config, "projection_dim": 768}
            arrays = {**arrays, name: np.resize(arrays[name], (768, arrays[name].shape[1]))}
        if version == "v1" and part == "transformer":
            config = {key: value for key, value in config.items() if key not in OF_MOTION}
            config["_class_name"] = "Transformer2DModel"
            files[MOTION_MODULE] = {key: value for key, value in arrays.items() if "attn_temporal." in key}
            arrays = {key: value for key, value in arrays.items() if "attn_temporal." not in key}
        file = "model.safetensors" if part in CLIP_OF_PARTS else "diffusion_pytorch_model.safetensors"
        files[f"{part}/{file}"] = arrays
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
    for file, arrays in files.items():
        write_safetensors(folder / file, arrays, {"format": "pt"})
    if version.startswith("v4"):
        write_bert(folder / "tokenizer")
        write_t5(folder / "tokenizer_2")
    else:
        write_t5(folder / "tokenizer")
    if "image_encoder" in PARTS[version]:
        options = json.loads((WHOLE / "config.json").read_text())["image_processor"]
        (folder / "image_encoder" / "preprocessor_config.json").write_text(json.dumps(options))
    (folder / "scheduler").mkdir()
    base = SCHEDULERS["v4_base" if version.startswith("v4") else "v1_v2_v3_base"]
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(base))
    return files


def shard(path, arrays, count=3):
    """Write a checkpoint in several files, with an index, in the place of one; returns the shards' names."""
    names, parts = list(arrays), {}
    for i, name in enumerate(names):
        parts.setdefault(f"{path.stem}-{i * count // len(names) + 1:05d}-of-{count:05d}{path.suffix}", []).append(name)
    for file, own in parts.items():
        chosen = {name: arrays[name] for name in own}
        if path.suffix == ".safetensors":
            write_safetensors(path.parent / file, chosen, {"format": "pt"})
        else:
            write_torch(path.parent / file, chosen)
    weight_map = {name: file for file, own in parts.items() for name in own}
    Path(f"{path}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    path.unlink(missing_ok=True)
    return list(parts)


def v1_options():
    """The options that V1's YAML adds to those of the transformer of pictures."""
    config = config_of(*PARTS["v1"]["transformer"])
    return {name: config[name] for name in OF_MOTION}


def config_for(folder, version, **options):
    """The `EasyAnimateConfig` of a folder that `write_easy` wrote."""
    if version == "v1":
        options = {"motion_module_path": str(folder / MOTION_MODULE), "transformer": v1_options(), **options}
    return EasyAnimateConfig(model=str(folder), **options)
