"""A full-size Animate Anyone of random weights on the disk, for benchmarks of whole animations.

Weights are drawn so that signals keep their size on the way through: 1 and 0 for norms, and a spread of one over the
root of the number of summands for the others. What comes out is no picture of anything, but every layer has a say.
"""

import json
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

UNET = {
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
}
CLIP = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
}
SMALL_UNET = {**UNET, "block_out_channels": [32, 32, 64, 64], "cross_attention_dim": 32, "norm_num_groups": 8}
SMALL_VAE = {**VAE, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8}
SMALL_CLIP = {
    **CLIP,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "patch_size": 56,
    "projection_dim": 32,
}
NAMES = {
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "image_encoder": "image_encoder/model.safetensors",
    "reference_unet": "reference_unet.safetensors",
    "denoising_unet": "denoising_unet.safetensors",
    "pose_guider": "pose_guider.safetensors",
}


def configuration(folder):
    """The keys of pose2vid's YAML file that name the model in a folder."""
    folder = Path(folder)
    return {
        "pretrained_base_model_path": str(folder),
        "pretrained_vae_path": str(folder / "vae"),
        "image_encoder_path": str(folder / "image_encoder"),
        **{f"{name}_path": str(folder / NAMES[name]) for name in ("denoising_unet", "reference_unet", "pose_guider")},
        "inference_config": str(folder / "inference.yaml"),
        "dtype": "fp32",
    }


def write(settings):
    """Write the model into the folder of the settings, `small` or full-size."""
    import paddle

    import ppdiffusers_ext.models  # noqa: F401 (before paddle computes)
    from ppdiffusers_ext.pipelines.animate_anyone.loading import describe_parts
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.weights.writing import write_safetensors

    folder, small = Path(settings["folder"]), settings["small"]
    models = {"unet": SMALL_UNET, "vae": SMALL_VAE, "image_encoder": SMALL_CLIP} if small else {
        "unet": UNET, "vae": VAE, "image_encoder": CLIP}  # fmt: skip
    for name, options in models.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(options))
    shutil.copyfile(ROOT / "configs/inference/inference_v2.yaml", folder / "inference.yaml")
    config = Pose2VidConfig(**configuration(folder))
    size = 0
    for name, part in describe_parts(config).items():
        arrays = {key: drawn(key, tensor) for key, tensor in part.model.state_dict().items()}
        write_safetensors(folder / NAMES[name], arrays, {"format": "pd"})
        size += (folder / NAMES[name]).stat().st_size
    return {"bytes": size, "versions": {"paddlepaddle": paddle.__version__}}


def drawn(name, tensor):
    import numpy as np

    from benchmarks.networks import RandomArray

    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("paddle.")
    if dtype != "float32":  # positions
        return np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    if len(shape) < 2:
        return np.full(shape, 1.0 if "norm" in name and name.endswith("weight") else 0.0, dtype)
    # (out, in, height, width) of convolutions, (in, out) of Paddle's linear layers.
    return RandomArray(name, shape, float(np.prod(shape[1:]) if len(shape) == 4 else shape[0]) ** -0.5)


CONTESTANTS = {"write": write}
