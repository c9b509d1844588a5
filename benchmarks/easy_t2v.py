"""The contestants of `clip --system easy_animate`: EasyAnimate V4 at a quarter of its width, and the same in torch.

Both begin with the same noise and the same embedded texts, and have the same weights: in fp32 they make the same
video. Frameworks are imported by the functions that use them: these run under different Pythons.
"""

import json
from pathlib import Path

from benchmarks import dit_peer, easy_clip, easy_vae_peer
from benchmarks.contestant import measure_clip, peak_bytes, timed, versions
from benchmarks.dit_step import SMALL

CONDITIONS, MODEL = "conditions.npz", "model.json"
SCHEDULER = {**easy_clip.SCHEDULER, "prediction_type": "v_prediction"}
SMALL_VAE = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
SCALING = 0.1825  # of the latents, the default of the autoencoder


def write(settings):
    """The files of random weights, and what both begin with: noise, what follows from texts, and steps as numbers."""
    import numpy as np
    import paddle

    from benchmarks.networks import random
    from ppdiffusers_ext.models.easy_animate.shared import embed_numbers
    from ppdiffusers_ext.pipelines.easy_animate.denoise import TransformerCall
    from ppdiffusers_ext.pipelines.easy_animate.video_coding import latents_shape
    from ppdiffusers_ext.pipelines.engines import make_engine
    from ppdiffusers_ext.pipelines.loading import Part
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler
    from ppdiffusers_ext.pipelines.steps import BlockCaching, Guidance
    from ppdiffusers_ext.weights.writing import write_safetensors

    folder, side = Path(settings["folder"]), settings["side"]
    folder.mkdir()
    (folder / MODEL).write_text(json.dumps(_options(settings["small"])))
    models, size = _models(folder), 0
    for name, model in models.items():
        arrays = {key: _drawn(key, tensor) for key, tensor in model.state_dict().items()}
        write_safetensors(folder / f"{name}.safetensors", arrays, {"format": "pd"})
        size += (folder / f"{name}.safetensors").stat().st_size
    shape = latents_shape(models["vae"], 1, settings["frames"], side, side)
    part = Part(models["transformer"], [folder / "transformer.safetensors"])
    scheduler = make_scheduler("Euler", SCHEDULER)
    scheduler.set_timesteps(settings["steps"])
    with paddle.no_grad():
        texts = _texts(models["transformer"].config)
        begun = (make_engine("eager"), part, texts, shape[2:], (side, side), settings["steps"])
        arrays = TransformerCall(*begun, Guidance(), BlockCaching()).conditions((False, True), sees=True)
        times = [embed_numbers(paddle.full([2], float(timestep))) for timestep in scheduler.timesteps]
    arrays = {name: tensor.numpy() for name, tensor in arrays.items()}
    arrays |= {"noise": random(shape), "times": np.stack([time.numpy() for time in times])}
    np.savez(folder / CONDITIONS, **arrays)
    return {"bytes": size, "versions": versions("paddlepaddle", "ppdiffusers")}


def _options(small):
    options = {name: dict(of_one) for name, of_one in easy_clip.SMALL.items()}
    if small:
        options["transformer"] |= {**SMALL, "num_layers": 4}
        options["vae"] |= SMALL_VAE
    return options


def _models(folder):
    """Our networks without weights."""
    from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
    from ppdiffusers_ext.weights.assignment import create

    options = json.loads((Path(folder) / MODEL).read_text())
    return {
        "transformer": create(lambda: HunyuanTransformer3D(**options["transformer"])),
        "vae": create(lambda: AutoencoderKLMagvit(**options["vae"])),
    }


def _drawn(name, tensor):
    """Random numbers that let signals keep their size, also through the autoencoder's convolutions over frames."""
    import math

    from benchmarks.dit_networks import weight
    from benchmarks.networks import RandomArray

    shape = tuple(tensor.shape)
    return RandomArray(name, shape, math.prod(shape[1:]) ** -0.5) if len(shape) > 2 else weight(name, shape)


def _texts(options):
    """A `Text` of what is not wanted and one of what is, of random numbers."""
    import paddle

    from benchmarks.networks import random
    from ppdiffusers_ext.pipelines.easy_animate.denoise import Text

    lengths = options.text_len, options.text_len_t5
    shapes = (1, lengths[0], options.cross_attention_dim), (1, lengths[1], options.cross_attention_dim_t5)
    masks = [paddle.ones([1, length]) for length in lengths]
    for scale in (-1.0, 1.0):
        first, second = (paddle.to_tensor(random(shape, scale)) for shape in shapes)
        yield Text(first, masks[0], second, masks[1])


def ours(settings):
    import numpy as np
    import paddle

    from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
    from ppdiffusers_ext.pipelines.loading import Part
    from ppdiffusers_ext.pipelines.presets import read_preset
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler
    from ppdiffusers_ext.runtime import Runtime

    folder, side = Path(settings["model"]), settings["side"]
    runtime = Runtime.choose("cpu", settings["dtype"])
    models = _models(folder)
    nothing = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = EasyAnimatePipeline(**nothing, **models, scheduler=make_scheduler("Euler", SCHEDULER))
    pipeline.use_networks({name: Part(model, [folder / f"{name}.safetensors"]) for name, model in models.items()})
    pipeline.use_engine(settings["engine"], settings["cache"], runtime.dtype, weights=settings["weights"])
    pipeline.use_memory(settings["memory"])
    pipeline.set_progress_bar_config(disable=True)
    unwanted, wanted = _texts(models["transformer"].config)
    with np.load(folder / CONDITIONS) as arrays:
        noise = paddle.to_tensor(arrays["noise"])

    def animate():
        return pipeline(
            wanted,
            unwanted,
            height=side,
            width=side,
            num_frames=settings["frames"],
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance"],
            latents=noise,
            output_type="np",
            **read_preset(settings["preset"], "easy_animate"),
        ).frames

    return measure_clip(pipeline, animate, settings["frames_file"])


def peer(settings):
    import numpy as np
    import torch
    from diffusers import EulerDiscreteScheduler
    from safetensors.torch import load_file

    torch.set_num_threads(2)
    dtype, folder = getattr(torch, settings["dtype"]), Path(settings["model"])
    options = json.loads((folder / MODEL).read_text())
    weights = {
        name: {key: tensor.to(dtype) for key, tensor in load_file(folder / f"{name}.safetensors").items()}
        for name in options
    }
    transformer = dit_peer.Network(
        weights["transformer"],
        options["transformer"].get("num_layers", dit_peer.LAYERS),
        options["transformer"]["num_attention_heads"],
    )
    decoder = easy_vae_peer.Decoder(weights["vae"], len(options["vae"]["block_out_channels"]))
    with np.load(folder / CONDITIONS) as arrays:
        given = {name: torch.from_numpy(arrays[name]).to(dtype) for name in arrays.files}
    noise, times = (given.pop(name) for name in ("noise", "times"))
    scheduler = EulerDiscreteScheduler(**SCHEDULER)

    def animate():
        scheduler.set_timesteps(settings["steps"])
        latents = noise * scheduler.init_noise_sigma
        for timestep, time in zip(scheduler.timesteps, times):
            scaled = scheduler.scale_model_input(torch.cat([latents] * 2), timestep).to(dtype)
            prediction = transformer(scaled, {**given, "time": time})[:, : latents.shape[1]]
            unconditional, conditional = prediction.chunk(2)
            guided = unconditional + settings["guidance"] * (conditional - unconditional)
            latents = scheduler.step(guided, timestep, latents).prev_sample
        chunks = decoder((latents / SCALING).to(dtype), options["vae"]["mini_batch_decoder"])
        return torch.cat([(chunk.float() / 2 + 0.5).clamp(0, 1) for chunk in chunks], dim=2).numpy()

    with torch.inference_mode():
        seconds = timed(lambda: np.save(settings["frames_file"], animate()))
    return {"seconds": seconds, "peak_bytes": peak_bytes(), "versions": versions("torch", "diffusers")}


CONTESTANTS = {"write": write, "ours": ours, "peer": peer}
