"""The contestants of `clip --system stable_animator`: StableAnimator, and Stable Video Diffusion in torch.

Frameworks are imported by the functions that use them: these run under different Pythons.
"""

import itertools
import json
from pathlib import Path

from benchmarks import full_size
from benchmarks.clip_peer import draw
from benchmarks.contestant import measure_clip, peak_bytes, timed, versions
from benchmarks.svd_step import SMALL_UNET, UNET

VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
SMALL_VAE = {**VAE, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
SCHEDULER = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
NAMES = {
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "image_encoder": "image_encoder/model.safetensors",
    "unet": "unet.safetensors",
    "pose_net": "pose_net.safetensors",
    "face_encoder": "face_encoder.safetensors",
}
ADDED = [6.0, 127.0, 0.02]


def write(settings):
    """The files of a full-size StableAnimator of random weights."""
    import paddle

    from ppdiffusers_ext.pipelines.stable_animator.loading import describe_parts
    from ppdiffusers_ext.weights.writing import write_safetensors

    folder, small = Path(settings["folder"]), settings["small"]
    unet = SMALL_UNET if small else UNET
    encoder = {**(full_size.SMALL_CLIP if small else full_size.CLIP), "projection_dim": unet["cross_attention_dim"]}
    configurations = {
        "unet/config.json": unet,
        "vae/config.json": SMALL_VAE if small else VAE,
        "image_encoder/config.json": encoder,
        "scheduler/scheduler_config.json": SCHEDULER,
    }
    for name, options in configurations.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(options))
    size = 0
    for name, part in describe_parts(make_config(folder)).items():
        arrays = {key: full_size.drawn(key, tensor) for key, tensor in part.model.state_dict().items()}
        write_safetensors(folder / NAMES[name], arrays, {"format": "pd"})
        size += (folder / NAMES[name]).stat().st_size
    return {"bytes": size, "versions": {"paddlepaddle": paddle.__version__}}


def make_config(folder, **options):
    """The `StableAnimationConfig` of what `write` has written."""
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig

    files = {name: str(Path(folder) / NAMES[name]) for name in ("unet", "pose_net", "face_encoder")}
    return StableAnimationConfig(svd=str(folder), **files, **options)


def ours(settings):
    import paddle

    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig
    from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
    from ppdiffusers_ext.runtime import Runtime

    names = {
        "engine_cache": settings["cache"],
        **{name: settings[name] for name in ("engine", "preset", "weights", "memory")},
    }
    if Path(settings["model"]).is_dir():
        config = make_config(settings["model"], **names)
    else:
        config = StableAnimationConfig.load(settings["model"], **names)
    side = settings["side"]
    pipeline = StableAnimatorPipeline.open(config, Runtime.choose("cpu", settings["dtype"]))
    pipeline.set_progress_bar_config(disable=True)
    picture, poses, face = _case(config, settings["frames"], side)

    def animate():
        return pipeline(
            picture,
            poses,
            face,
            side,
            side,
            settings["steps"],
            min_guidance_scale=settings["guidance"],
            max_guidance_scale=settings["guidance"],
            tile_size=config.context_frames,
            tile_overlap=config.context_overlap,
            anchored=config.anchored,
            repeats_noise=config.repeats_noise,
            generator=paddle.Generator().manual_seed(0),
            output_type="np",
            **config.knobs,
        ).frames

    return measure_clip(pipeline, animate, settings["frames_file"])


def _case(config, frames, side):
    """Picture, skeletons and a face's embedding: those that a configuration names, or else drawn ones."""
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.data.images import read_image
    from ppdiffusers_ext.pipelines.stable_animator.run import prepare

    if config.reference_image is not None:
        clip = prepare(config, read_image(config.reference_image), open_frames(config.pose_video, background="black"))
        return clip.picture, list(itertools.islice(clip.skeletons, frames)), clip.embedding
    random = np.random.default_rng(0)
    picture, *poses = (
        PIL.Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        for _ in range(1 + frames)
    )
    return picture, poses, random.standard_normal(512)


def peer(settings):
    import torch
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel

    dtype = getattr(torch, settings["dtype"])
    torch.set_num_threads(2)
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(**(SMALL_UNET if settings["small"] else UNET))
        vae = AutoencoderKLTemporalDecoder(**(SMALL_VAE if settings["small"] else VAE))
    generator = torch.Generator().manual_seed(0)
    for model in (unet, vae):
        model.to(dtype).to_empty(device="cpu").eval()
        for name, tensor in model.state_dict().items():
            draw(name, tensor, generator)
    side, frames = settings["side"] // 8, settings["frames"]
    scheduler = EulerDiscreteScheduler(**SCHEDULER)

    def animate(steps):
        scheduler.set_timesteps(steps)
        latents = torch.randn([1, frames, 4, side, side], generator=generator).to(dtype) * scheduler.init_noise_sigma
        picture = torch.randn([1, 1, 4, side, side], generator=generator).to(dtype).expand(latents.shape)
        context = torch.zeros([2, 1, unet.config.cross_attention_dim], dtype=dtype)
        added = torch.tensor([ADDED] * 2).to(dtype)
        for timestep in scheduler.timesteps:
            scaled = torch.cat([scheduler.scale_model_input(latents, timestep), picture], dim=2).to(dtype)
            unconditional, conditional = unet(torch.cat([scaled] * 2), timestep, context, added)[0].chunk(2)
            prediction = unconditional + settings["guidance"] * (conditional - unconditional)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        parts = (latents[0] / 0.18215).to(dtype).split(4)
        return float(torch.cat([vae.decode(part, num_frames=len(part)).sample for part in parts]).float().sum())

    with torch.no_grad():
        seconds = timed(lambda: animate(settings["steps"]))
    return {"seconds": seconds, "peak_bytes": peak_bytes(), "versions": versions("torch", "diffusers")}


CONTESTANTS = {"write": write, "ours": ours, "peer": peer}
