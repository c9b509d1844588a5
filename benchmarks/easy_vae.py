"""Seconds and memory of decoding a video with EasyAnimate's autoencoder, as it gets longer.

    python -m benchmarks easy_vae --json easy_vae.json
    python -m benchmarks easy_vae --size 960x1680 --frames 8 96 --tiles --narrow 4
    python -m benchmarks easy_vae --frames 16 --engine openvino --dtype bfloat16

V4's autoencoder of full size with random weights decodes random latents to frames, which are forgotten as soon as they
are there; each length has a process of its own. `growth` is what the longest needs more memory than the shortest, as a
part of what that needs. There are no peers; `seconds` are of one run, without a warm-up. An engine's exports are made
before, in a process that reports what that takes, and how far the first chunk is from Paddle's in fp32.
"""

import re
import tempfile
import time

from benchmarks import harness
from benchmarks.contestant import peak_bytes, versions
from ppdiffusers_ext.errors import InputError

LENGTHS = (8, 24, 96)
WIDTHS = (128, 256, 512, 512)


def add_arguments(parser):
    parser.add_argument("--size", default="256x256", metavar="WxH", help="in pixels (default 256x256)")
    parser.add_argument("--frames", type=int, nargs="+", default=LENGTHS, metavar="N", help="from short to long")
    parser.add_argument("--tiles", action="store_true", help="in tiles of 384 pixels")
    parser.add_argument("--engine", default="eager", choices=("eager", "openvino", "onnx"), help="(default eager)")
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="that the engine computes in"
    )
    parser.add_argument("--narrow", type=int, default=1, metavar="N", help="an N-th of the channels (default 1)")


def compete(options):
    if not re.fullmatch(r"\d+x\d+", options.size):
        raise InputError(f"--size {options.size} is no size; such as 256x256 (width, height) is accepted")
    if sorted(set(options.frames)) != list(options.frames) or any(count < 1 or count % 8 for count in options.frames):
        raise InputError("--frames takes rising multiples of 8")
    if options.narrow not in (1, 2, 4):
        raise InputError(f"--narrow {options.narrow} does not divide the channels; 1, 2 or 4 is accepted")
    settings = {name: getattr(options, name) for name in ("size", "tiles", "narrow", "engine", "dtype")}
    rows, export = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        if options.engine != "eager":
            of_export = {**settings, "frames": min(16, options.frames[-1]), "cache": folder}
            export = harness.run_contestant("easy_vae", "export", of_export, title="export")
            print(
                f"exports took {export['seconds']:.1f} s; the first chunk is {export['decibels']:.1f} dB from Paddle's"
            )
        for count in options.frames:
            of_length = {**settings, "frames": count, "cache": folder}
            rows[f"{count} frames"] = harness.run_contestant("easy_vae", "decode", of_length, title=f"{count} frames")
    harness.print_table(rows, {})
    shortest, *_, longest = [*rows.values()] * 2 if len(rows) == 1 else rows.values()
    growth = longest["peak_bytes"] / shortest["peak_bytes"] - 1
    print(f"growth of memory {growth:.1%}")
    ours = {key: longest[key] for key in ("seconds", "peak_bytes")}
    return harness.result(ours, {}, frames=rows, growth=growth, settings=settings, export=export)


def make_vae(narrow=1):
    """V4's autoencoder with random weights, and an N-th of its channels."""
    import paddle

    from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit

    paddle.seed(0)
    vae = AutoencoderKLMagvit(
        block_out_channels=tuple(width // narrow for width in WIDTHS),
        slice_mag_vae=False,
        cache_compression_vae=True,
        mini_batch_encoder=8,
        mini_batch_decoder=2,
    )
    vae.eval()
    return vae


def decode(settings):
    vae, latents, coder = _prepare(settings)
    before, start = peak_bytes(), time.perf_counter()
    # As a command does: frames become bytes and go to the video writer.
    count = sum((chunk * 255).round().astype("uint8").shape[2] for chunk in _decode(vae, latents, coder))
    if count != settings["frames"]:
        raise RuntimeError(f"{count} frames came out instead of {settings['frames']}")
    return _report(start, before)


def export(settings):
    """Make the exports, and compare the first chunk."""
    import paddle

    from ppdiffusers_ext.engine.decibels import signal_to_noise

    vae, latents, coder = _prepare(settings)
    before, start = peak_bytes(), time.perf_counter()
    first, *_ = [chunk.numpy() for chunk in _decode(vae, latents, coder)]
    report = _report(start, before)
    with paddle.no_grad():
        expected = next(_decode(vae, latents[:, :, : vae.config.mini_batch_decoder], None)).numpy()
    return {**report, "decibels": signal_to_noise(first, expected)}


def _prepare(settings):
    import paddle

    from ppdiffusers_ext.engine.network import Network
    from ppdiffusers_ext.pipelines.easy_animate import video_coding
    from ppdiffusers_ext.pipelines.easy_animate.compiled_vae import make_coder
    from ppdiffusers_ext.pipelines.engines import make_engine
    from ppdiffusers_ext.runtime import Runtime

    Runtime.choose("cpu", "fp32")
    vae = make_vae(settings["narrow"])
    vae.use_tiling = settings["tiles"]
    width, height = map(int, settings["size"].split("x"))
    latents = paddle.randn(video_coding.latents_shape(vae, 1, settings["frames"], height, width))
    engine = make_engine(settings["engine"], settings["cache"], precision=settings["dtype"])
    return vae, latents, make_coder(engine, Network(vae), latents.shape[2])


def _decode(vae, latents, coder):
    from ppdiffusers_ext.pipelines.easy_animate import video_coding

    return video_coding.decode(vae, latents, coder)


def _report(start, before):
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": peak_bytes(),
        "before_bytes": before,
        "versions": versions("paddlepaddle", "ppdiffusers"),
    }


CONTESTANTS = {"decode": decode, "export": export}
