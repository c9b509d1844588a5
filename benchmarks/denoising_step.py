"""Seconds and memory of one denoising call of the full-size network, beside those of public networks.

    python -m benchmarks denoising_step
    PEER_PYTHON=/path/to/python python -m benchmarks denoising_step --json denoising_step.json

The network is Stable Diffusion 1.5's UNet with AnimateDiff's motion modules (1.3 G random parameters, fp32) on one
clip of 8 frames of 32x32 latents (256x256 pixels) and one token of cross attention. Each contestant is built and
measured in a process of its own, one after the other. Seconds are the median of the repeats after a warm-up call,
without building; memory is the peak of the whole process. Other work on the machine distorts this: compare within one
run on a quiet machine. It takes about 6 GB and 10 minutes on two cores.

    ours                         ppdiffusers_ext's DenoisingUNet3D, Paddle eager
    ours_with_reference          the same with features of a reference picture, which double the keys of each spatial
                                 self-attention: what an animation really costs (without guidance, which doubles it)
    ppdiffusers_UNetMotionModel  ppdiffusers' network of the same shape, Paddle eager, with the same threads and MKL
                                 path as ours (ppdiffusers alone would choose slower ones)
    diffusers_UNetMotionModel    diffusers' network of the same shape in torch, if PEER_PYTHON names a Python that has
                                 torch and diffusers

The peers have neither reference nor pose features, so the ratios are to ours without them. (Pose features are one
addition behind the first layer, whose cost is not measurable.)
"""

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

PADDLE_PEER = "ppdiffusers_UNetMotionModel"
TORCH_PEER = "diffusers_UNetMotionModel"
MAX_FRAMES = 32  # positions of the motion modules


def add_arguments(parser):
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="timed calls (default 2)")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames of the clip (default 8)")
    parser.add_argument("--size", type=int, default=32, metavar="N", help="side of the latents (default 32)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of each contestant (default 2)")
    parser.add_argument("--small", action="store_true", help="a tiny network, to try the benchmark itself")


def compete(options):
    settings = _settings(options)
    python = harness.peer_python("torch", "diffusers")
    measured = {}
    for name in ("ours", "ours_with_reference", PADDLE_PEER):
        measured[name] = harness.run_contestant("networks", name, settings)
    if python:
        measured[TORCH_PEER] = harness.run_contestant("networks", TORCH_PEER, settings, python)
    else:
        print(f"{TORCH_PEER} is left out: PEER_PYTHON does not name a Python with torch and diffusers")
    rows = dict(measured)
    ours, with_reference = measured.pop("ours"), measured.pop("ours_with_reference")
    fields = harness.result(ours, measured, ours_with_reference=with_reference, settings=settings)
    harness.print_table(rows, fields["ratios"])
    return fields


def _settings(options):
    for name in ("repeats", "threads"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} is too small; 1 or more is accepted")
    if not 1 <= options.frames <= MAX_FRAMES:
        raise InputError(f"--frames {options.frames} does not fit the motion modules; 1 to {MAX_FRAMES} is accepted")
    if options.size < 8 or options.size % 8:
        raise InputError(f"--size {options.size} cannot be halved three times; a multiple of 8 is accepted")
    return {
        "repeats": options.repeats,
        "threads": options.threads,
        "latents": [1, 4, options.frames, options.size, options.size],
        "encoder_hidden_states": [1, 1, 768],
        "dtype": "float32",
        "block_out_channels": [32, 32, 64, 64] if options.small else [320, 640, 1280, 1280],
        "norm_num_groups": 8 if options.small else 32,
        "motion_max_seq_length": MAX_FRAMES,
    }
