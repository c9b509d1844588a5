"""What `memory_plan --system easy_animate` measures: EasyAnimate V4 at a quarter of its width, or at its full size."""

from pathlib import Path

from benchmarks import full_size
from benchmarks.contestant import timed

TRANSFORMER = {"in_channels": 4, "enable_clip_in_inpaint": False}
VAE = {"slice_mag_vae": False, "cache_compression_vae": True, "mini_batch_encoder": 8, "mini_batch_decoder": 2}
SMALL = {
    "transformer": {**TRANSFORMER, "num_attention_heads": 4, "hidden_size": 352},
    "vae": {**VAE, "block_out_channels": (32, 64, 128, 128)},
}
FULL = {"transformer": TRANSFORMER, "vae": VAE}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.03, "beta_schedule": "scaled_linear", "steps_offset": 1}


def _models(small):
    from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
    from ppdiffusers_ext.weights.assignment import create

    options = SMALL if small else FULL
    return {
        "transformer": create(lambda: HunyuanTransformer3D(**options["transformer"])),
        "vae": create(lambda: AutoencoderKLMagvit(**options["vae"])),
    }


def write(settings):
    """The files of random weights."""
    import paddle

    from ppdiffusers_ext.weights.writing import write_safetensors

    folder, size = Path(settings["folder"]), 0
    folder.mkdir()
    for name, model in _models(settings["small"]).items():
        path = folder / f"{name}.safetensors"
        arrays = {key: full_size.drawn(key, tensor) for key, tensor in model.state_dict().items()}
        write_safetensors(path, arrays, {"format": "pd"})
        size += path.stat().st_size
    return {"bytes": size, "versions": {"paddlepaddle": paddle.__version__}}


def animate(settings, folder, width, height, length):
    """The plan, and the seconds of a video of random embedded texts, in one step."""
    import paddle

    from ppdiffusers_ext.data.video_writer import VideoWriter
    from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
    from ppdiffusers_ext.pipelines.easy_animate.loading import streams_blocks, uses_tiles
    from ppdiffusers_ext.pipelines.easy_animate.memory import plan_memory
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
    from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
    from ppdiffusers_ext.pipelines.lean_parts import MergedPart, StreamedPart
    from ppdiffusers_ext.pipelines.memory import get_rung
    from ppdiffusers_ext.pipelines.outputs import pixels_of
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler
    from ppdiffusers_ext.runtime import Runtime

    config = EasyAnimateConfig(width=width, height=height, num_frames=length, memory=settings["rung"])
    models, files = _models(not settings["full_size"]), Path(settings["folder"]) / "model"
    (plan,) = plan_memory(models, config, Runtime.choose("cpu", "fp32"), [config.memory])
    models["vae"].use_tiling = uses_tiles(config)
    paths = {name: [files / f"{name}.safetensors"] for name in models}
    parts = {name: MergedPart(model, paths[name]) for name, model in models.items()}
    if streams_blocks(config):
        parts["transformer"] = StreamedPart(models["transformer"], paths["transformer"], "blocks")
    scheduler = make_scheduler("Euler", {**SCHEDULER, "prediction_type": "v_prediction"})
    nothing = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = EasyAnimatePipeline(**nothing, **models, scheduler=scheduler)
    pipeline.use_networks(parts)
    pipeline.use_memory(config.memory)
    texts = [
        Text(paddle.randn([1, 77, 1024]), paddle.ones([1, 77]), paddle.randn([1, 256, 2048]), paddle.ones([1, 256]))
        for _ in range(2)
    ]
    size = {"height": height, "width": width, "num_frames": length, "num_inference_steps": 1}
    sequential = get_rung(config.memory).computes_singly

    def run():
        latents = pipeline(*texts, **size, output_type="latent", sequential_guidance=sequential).frames
        with VideoWriter(f"{folder}/video.mp4", 24, width, height) as writer:
            chunks = (video[0].transpose([1, 0, 2, 3]) for video in pipeline.decode(latents))
            for frame in pixels_of(chunks):
                writer.write(frame)

    return plan, timed(run)


CONTESTANTS = {"write": write}
