"""Make what `make demo` animates: a drawn person, a pose video of another motion, and a small model in assets/.

    python -m scripts.make_demo_assets [--seed 7]

The model has the architecture of Animate Anyone in small and is untrained: its weights are drawn from the seed. It
shows that everything runs, not what a trained model paints.
"""

import sys
from pathlib import Path

from scripts.command import ArgumentParser, run

WIDTHS = (32, 64, 64, 64)
CROSS_ATTENTION_DIM = 64
UNET = {
    "block_out_channels": WIDTHS,
    "layers_per_block": 1,
    "norm_num_groups": 32,
    "cross_attention_dim": CROSS_ATTENTION_DIM,
    "attention_head_dim": 4,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
}
CLIP = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "projection_dim": CROSS_ATTENTION_DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 32,
    "image_size": 224,
}
SIDE = 256
NUM_FRAMES = 32


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.make_demo_assets", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="of the weights and of the drawn person (default: 7)")
    parser.add_argument("--output", type=Path, default=Path("assets"), help="folder (default: assets)")
    return parser


def write_clip(folder, seed):
    """One drawn person as the picture, the poses of another as the video."""
    from ppdiffusers_ext.data.images import write_image
    from ppdiffusers_ext.data.synthetic import synthetic_clip
    from ppdiffusers_ext.data.video import VideoWriter

    write_image(folder / "reference.png", synthetic_clip(seed, 1, SIDE, SIDE).reference)
    clip = synthetic_clip(seed + 1, NUM_FRAMES, SIDE, SIDE)
    with VideoWriter(folder / "pose.mp4", clip.fps, SIDE, SIDE) as writer:
        writer.write(clip.pose)


def write_model(folder, seed):
    """The parts of an untrained pipeline, each in a folder of its own, in fp16."""
    import paddle
    from ppdiffusers import AutoencoderKL
    from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
    from ppdiffusers_ext.pipelines.configuration import read_yaml

    paddle.seed(seed)
    temporal = read_yaml("configs/inference/inference_v2.yaml")["unet_additional_kwargs"]
    parts = {
        "denoising_unet": DenoisingUNet3D(**UNET, **temporal),
        "unet": ReferenceUNet(**UNET),
        "pose_guider": PoseGuider(conditioning_embedding_channels=WIDTHS[0]),
        "vae": AutoencoderKL(**VAE),
    }
    for name, part in parts.items():
        part.to(dtype="float16")
        part.save_pretrained(str(folder / name))
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP))
    encoder.to(dtype="float16")
    encoder.save_pretrained(str(folder / "image_encoder"), safe_serialization=True)


def work(options):
    write_clip(options.output, options.seed)
    write_model(options.output / "demo_model", options.seed)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
