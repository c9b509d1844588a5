"""The contestants of `gpu_check`: a system's networks on one path, checked on a small model and timed at full size."""

from benchmarks import dit_networks, networks, svd_networks
from benchmarks.contestant import measure, peak_bytes, versions
from benchmarks.networks import start_paddle

MODULES = {"animate_anyone": networks, "stable_animator": svd_networks, "easy_animate": dit_networks}
SEED = 7


def write_weights(settings):
    """Random weights of a system's network."""
    return MODULES[settings["system"]].write_weights(settings)


def check(settings):
    """What a small model gives, which is written to the file of the settings, and the seconds of a full-size call."""
    import numpy as np
    import paddle

    start_paddle(settings)
    on_paddle = settings["engine"] == "eager"
    paddle.set_device(settings["device"] if on_paddle else "cpu")
    engine = _make_engine(settings)
    with paddle.no_grad():
        np.savez(settings["output"], **CHECKS[settings["system"]](settings, engine))
        row = {}
        if settings["repeats"]:
            call = MODULES[settings["system"]].make_call(_of_network(settings, "speed"), engine)
            row = measure(call, settings["repeats"])
    row["peak_bytes"] = peak_bytes()
    row["versions"] = versions() | {"paddle": paddle.__version__}  # of whichever package
    if not on_paddle:
        row["providers"] = _providers(engine)
    return row


def _make_engine(settings):
    from ppdiffusers_ext.engine.bound_sessions import backend_on
    from ppdiffusers_ext.engine.cache import ExportCache
    from ppdiffusers_ext.pipelines.compiled_engine import CompiledEngine, EagerEngine

    if settings["engine"] == "eager":
        return EagerEngine()
    backend = backend_on(settings["device"], settings["dtype"])
    wider = backend_on(settings["device"], "float32") if settings["dtype"] == "float16" else None
    return CompiledEngine(backend, ExportCache(settings["cache"]), settings["threads"], settings["dtype"], wider)


def _providers(engine):
    """Names of the providers of the sessions that are open."""
    sessions = [session for function in engine._functions.values() for session, _ in function._sessions.values()]
    return sorted({name for session in sessions for name in session.providers})


def _of_network(settings, which):
    """Settings of a network: of the small one ("parity") or of the one that is timed ("speed")."""
    dtype = settings["dtype"] if settings["engine"] == "eager" else "float32"
    return {**settings, **settings[which], "weights_dtype": dtype}


def _open(settings, engine, pipeline_class, config):
    """A pipeline of a configuration that runs in this engine."""
    from ppdiffusers_ext.runtime import Runtime

    on_paddle = settings["engine"] == "eager"
    runtime = Runtime(settings["device"], settings["dtype"]) if on_paddle else Runtime("cpu", "float32")
    pipeline = pipeline_class.open(config, runtime)
    pipeline._engine = engine
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _animate(settings, engine):
    """Frames of the small model that ships, from noise that is the same on all devices, and a call of another."""
    return {"call": predict_small(settings, engine), "clip": _animate_clip(settings, engine)}


def _animate_clip(settings, engine):
    import numpy as np
    import paddle
    import PIL.Image

    from ppdiffusers_ext.data.synthetic import synthetic_clip
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline

    side, frames, steps = settings["clip"]
    config = Pose2VidConfig.load("configs/inference/demo.yaml", engine="eager")
    pipeline = _open(settings, engine, Pose2VideoPipeline, config)
    clip, scale = synthetic_clip((SEED, 0), frames, side, side), pipeline.vae_scale_factor
    shape = [1, pipeline.denoising_unet.config.in_channels, frames, side // scale, side // scale]
    return pipeline(
        PIL.Image.fromarray(clip.reference),
        list(clip.pose),
        side,
        side,
        num_inference_steps=steps,
        guidance_scale=3.5,
        latents=paddle.to_tensor(np.random.default_rng(SEED).standard_normal(shape, np.float32)),
        output_type="np",
    ).videos


def _make_video(settings, engine):
    """Frames of the small model that ships, of a text."""
    import numpy as np
    import paddle

    from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

    side, frames, steps = settings["clip"]
    config = EasyAnimateConfig.load("configs/inference/easy_animate/demo.yaml", engine="eager")
    pipeline = _open(settings, engine, EasyAnimateInpaintPipeline, config)
    shape = pipeline.latents_shape(1, frames, side, side)
    frames = pipeline(
        "a person in a red shirt waves on a blue background",
        height=side,
        width=side,
        num_frames=frames,
        num_inference_steps=steps,
        guidance_scale=3.0,
        latents=paddle.to_tensor(np.random.default_rng(SEED).standard_normal(shape, np.float32)),
        output_type="np",
    ).frames
    return {"clip": frames}


def _predict(settings, engine):
    """A call alone: StableAnimator has no small model that ships."""
    return {"call": predict_small(settings, engine)}


def predict_small(settings, engine):
    """A call of a small network of random weights."""
    return MODULES[settings["system"]].make_call(_of_network(settings, "parity"), engine)()


CHECKS = {"animate_anyone": _animate, "stable_animator": _predict, "easy_animate": _make_video}
CONTESTANTS = {"weights": write_weights, "check": check}
