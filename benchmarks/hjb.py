"""Seconds and memory of optimising faces, beside decoding the same frames and going back through the decoder.

    python -m benchmarks hjb --json hjb.json

Stable Video Diffusion's decoder and ArcFace's 100 layers of full size with random weights, a clip of 8 frames at
256x256 in chunks of 4. Each contestant has a process of its own. Seconds are those of an iteration, the median of the
repeats after a warm-up; memory is the peak of the whole process.

    ours                one iteration of the optimisation: decoding, faces, recogniser, gradient, Adam
    decode_and_back     ppdiffusers' decoder with its own gradient checkpointing: decoding the frames chunk by chunk,
                        each followed by the gradient of its mean
    decode_and_back_kept
                        the same without checkpointing: nothing is computed twice, everything is kept
"""

from benchmarks import harness
from benchmarks.contestant import measure, peak_bytes, versions
from ppdiffusers_ext.errors import InputError

VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
SMALL_VAE = {**VAE, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
SMALL_RECOGNIZER = {"layers": [1, 1, 1, 1], "planes": [4, 4, 8, 8], "num_features": 16}
PEERS = ("decode_and_back", "decode_and_back_kept")


def add_arguments(parser):
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames of the clip (default 8)")
    parser.add_argument("--side", type=int, default=256, metavar="N", help="width and height in pixels (default 256)")
    parser.add_argument("--chunk", type=int, default=4, metavar="N", help="frames decoded together (default 4)")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="timed iterations (default 2)")
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="times that all take their turn (default 1)"
    )
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the benchmark itself")


def compete(options):
    for name, least in (("frames", 1), ("side", 64), ("chunk", 1), ("repeats", 1), ("rounds", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)} is too small; {least} or more is accepted")
    settings = {name: getattr(options, name) for name in ("frames", "side", "chunk", "repeats", "small")}
    rows = harness.run_in_turn({name: ("hjb", name, settings) for name in ("ours", *PEERS)}, options.rounds)
    fields = harness.result(rows["ours"], {name: rows[name] for name in PEERS}, settings=settings)
    fields["memory_ratios"] = {name: rows["ours"]["peak_bytes"] / rows[name]["peak_bytes"] for name in PEERS}
    harness.print_table(rows, fields["ratios"])
    for name, ratio in fields["memory_ratios"].items():
        print(f"ours takes {1 / fields['ratios'][name]:.2f} of the time and {ratio:.2f} of the memory of {name}")
    return fields


def _start(settings):
    import paddle
    from ppdiffusers import AutoencoderKLTemporalDecoder

    import ppdiffusers_ext.models  # noqa: F401 (what a user of ppdiffusers_ext gets: the fast path, and all cores)
    from ppdiffusers_ext.environment import use_all_cores

    use_all_cores()
    paddle.seed(0)
    vae = AutoencoderKLTemporalDecoder(**(SMALL_VAE if settings["small"] else VAE))
    vae.eval()
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    return vae, paddle.randn([1, settings["frames"], 4, settings["side"] // scale, settings["side"] // scale])


def ours(settings):
    vae, latents = _start(settings)
    import paddle

    from ppdiffusers_ext.models.borrowed import use_own_layers
    from ppdiffusers_ext.models.stable_animator.arcface import IResNet
    from ppdiffusers_ext.models.stable_animator.residual import use_video_blocks
    from ppdiffusers_ext.pipelines.stable_animator.refinement import FaceRefinement

    vae = use_own_layers(use_video_blocks(vae))
    recognizer = IResNet(**(SMALL_RECOGNIZER if settings["small"] else {}))
    recognizer.eval()
    side = settings["side"]
    box = (side // 8, side // 3, side // 3, side // 2)
    reference = paddle.randn([1, recognizer.config.num_features])
    refinement = FaceRefinement(recognizer, reference, [box] * settings["frames"], 0, 0, iterations=1)
    row = measure(lambda: refinement.refine(latents, vae, 0, 1, settings["chunk"]).numpy(), settings["repeats"])
    return {**row, "peak_bytes": peak_bytes(), "versions": versions("paddlepaddle", "ppdiffusers")}


def decode_and_back(settings, keeps=False):
    vae, latents = _start(settings)
    import paddle

    vae.decoder.gradient_checkpointing = not keeps
    for parameter in vae.parameters():
        parameter.stop_gradient = True

    def call():
        leaf = latents.clone()
        leaf.stop_gradient = False
        for start in range(0, settings["frames"], settings["chunk"]):
            chunk = leaf[0, start : start + settings["chunk"]]
            paddle.mean(vae.decode(chunk, num_frames=chunk.shape[0]).sample).backward()
        return leaf.grad.numpy()

    row = measure(call, settings["repeats"])
    return {**row, "peak_bytes": peak_bytes(), "versions": versions("paddlepaddle", "ppdiffusers")}


def decode_and_back_kept(settings):
    return decode_and_back(settings, keeps=True)


CONTESTANTS = {"ours": ours, "decode_and_back": decode_and_back, "decode_and_back_kept": decode_and_back_kept}
