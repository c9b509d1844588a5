"""Seconds and memory of one optimisation step of both training stages, beside diffusers' networks in torch.

    python -m benchmarks train_step
    PEER_PYTHON=/path/to/python python -m benchmarks train_step --json train_step.json
    PEER_PYTHON=/path/to/python python -m benchmarks train_step --system easy_animate --threads 1 --rounds 3

A step is forward pass, loss, backward pass, AdamW and clearing the gradients, in fp32, on random latents, embeddings
and pose pictures: without VAE, CLIP or data. Stage 1 learns four samples of one frame (all of the denoising UNet and
of the pose guider, and the reference UNet but for its last up block), stage 2 one clip of 8 frames (the motion modules
alone). The networks are Animate Anyone's at about a quarter of Stable Diffusion 1.5's widths: 96, 160, 320 and 320
channels (the motion modules' 32 groups divide nothing smaller), 192 channels of cross attention instead of 768, and
otherwise as there (two layers a block, 8 heads), on 32x32 latents (256x256 pixels).

    ours        ppdiffusers_ext's AnimateAnyoneModel, `freeze` and loss, Paddle eager
    diffusers   the same computation with diffusers' UNet2DConditionModel (stage 2: UNetMotionModel), attention
                processors that hand the reference features over, and a pose guider of the same convolutions; in torch,
                if PEER_PYTHON names a Python that has torch and diffusers

Both start from the same weights, learn the same number of parameters, and must come to the same loss in the first step
(motion modules start without influence, so the one difference does not show there: the group norm in front of
diffusers' covers a clip, that of Animate Anyone a frame). Seconds are the median of the repeats after a warm-up step;
memory is the peak of the whole process. `ours` and `peers` of the result are a step of each stage, one after the
other; `stages` has them apart.

`checkpointing` is stage 2 of ours with gradient checkpointing in both UNets. Activation memory is the most that Paddle
has allocated during forward and backward pass, less what it had before: weights, the optimiser's state and gradients.

`scaling` (--scaling; left out with --small unless asked for) compares two processes with one: stage 1's trainer with
VAE, CLIP, drawn clips and `--sharding stage1` over gloo, each process on one thread and with the same batch.
`data_share` is the part of the time in which training waited for data.

--system easy_animate measures one step of EasyAnimate V4's transformer instead, see `easy_train_step`.

Other work on the machine distorts all of this: compare within one run on a quiet machine.
"""

import argparse
import math

from benchmarks import easy_train_step, harness, training_scaling
from benchmarks.networks import HEADS
from ppdiffusers_ext.errors import InputError

TORCH_PEER = "diffusers"
STAGES = (1, 2)
MAX_FRAMES = 32  # positions of the motion modules
SMALL = {"block_out_channels": [32, 32, 64, 64], "layers_per_block": 1, "cross_attention_dim": 32}
MIDDLE = {"block_out_channels": [96, 160, 320, 320], "layers_per_block": 2, "cross_attention_dim": 192}
SAME_LOSS = 1e-4  # relative; fp32 and the order of sums leave about 1e-6


def add_arguments(parser):
    parser.add_argument("--system", choices=("animate_anyone", "easy_animate"), default="animate_anyone")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="timed steps (default 3)")
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="times that all take their turn (default 1)"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="samples (default: 4 in stage 1; easy_animate 1)")
    parser.add_argument("--frames", type=int, metavar="N", help="frames (default: 8 in stage 2; easy_animate 24)")
    parser.add_argument("--size", type=int, default=32, metavar="N", help="side of the latents (default 32)")
    parser.add_argument("--layers", type=int, default=40, metavar="N", help="blocks of easy_animate (default 40)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of each contestant (default 2)")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="steps of the trainer's runs (default 10)")
    parser.add_argument(
        "--scaling", action=argparse.BooleanOptionalAction, help="run the trainer with one and with two processes"
    )
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the benchmark itself")


def compete(options):
    for name in ("repeats", "rounds", "batch", "threads", "steps"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise InputError(f"--{name} {value} is too small; 1 or more is accepted")
    if options.size < 8 or options.size % 8:
        raise InputError(f"--size {options.size} cannot be halved three times; a multiple of 8 is accepted")
    if options.system == "easy_animate":
        return easy_train_step.compete(options)
    settings = _settings(options)
    python = harness.peer_python("torch", "diffusers")
    stages = {str(stage): _compete_in(stage, settings, python) for stage in STAGES}
    if not python:
        print(f"{TORCH_PEER} is left out: PEER_PYTHON does not name a Python with torch and diffusers")
    checkpointing = _checkpointing(settings, stages["2"]["ours"])
    scaling = training_scaling.compare(settings["scaling"]) if settings["scaling"] else None
    _print(stages, checkpointing, scaling)
    peers = {name: _both([stage["peers"][name] for stage in stages.values()]) for name in stages["1"]["peers"]}
    ours = _both([stage["ours"] for stage in stages.values()])
    more = {"stages": stages, "checkpointing": checkpointing, "scaling": scaling, "settings": settings}
    return harness.result(ours, peers, **more)


def check_same(stage, ours, peer):
    """Refuse a comparison of different computations.

    Raises:
        RuntimeError: other numbers of learning parameters, or another loss from the same weights and inputs.
    """
    counts = ours["trained_parameters"], peer["trained_parameters"]
    if counts[0] != counts[1]:
        raise RuntimeError(f"in stage {stage} {counts[0]} parameters of ours learn, and {counts[1]} of the peer's")
    losses = ours["losses"][0], peer["losses"][0]
    if not math.isclose(*losses, rel_tol=SAME_LOSS):
        raise RuntimeError(f"the first loss of stage {stage} is {losses[0]} of ours, and {losses[1]} of the peer")


def _compete_in(stage, settings, python):
    """The fields of the result of one stage."""
    of_stage = _of_stage(stage, settings)
    contestants = {f"stage {stage}, ours": ("training_networks", "ours", of_stage)}
    if python:
        contestants[f"stage {stage}, {TORCH_PEER}"] = ("training_peer", TORCH_PEER, of_stage, python)
    ours, *others = harness.run_in_turn(contestants, settings["rounds"]).values()
    for peer in others:
        check_same(stage, ours, peer)
    return harness.result(ours, dict(zip([TORCH_PEER], others)))


def _of_stage(stage, settings):
    return {**settings["networks"], "stage": stage, "latents": settings["latents"][str(stage)]}


def _checkpointing(settings, without):
    of_stage = {**_of_stage(2, settings), "gradient_checkpointing": True}
    ours = harness.run_contestant("training_networks", "ours", of_stage, title="stage 2, ours, checkpointing")
    ratios = {f"{key}_ratio": ours[key] / without[key] for key in ("activation_bytes", "seconds")}
    return {"ours": ours, **ratios}


def _both(rows):
    return {"seconds": sum(row["seconds"] for row in rows), "peak_bytes": max(row["peak_bytes"] for row in rows)}


def _print(stages, checkpointing, scaling):
    rows, ratios = {}, {}
    for stage, fields in stages.items():
        rows[f"stage {stage}, ours"] = fields["ours"]
        for name, row in fields["peers"].items():
            rows[f"stage {stage}, {name}"], ratios[f"stage {stage}, {name}"] = row, fields["ratios"][name]
    rows["stage 2, ours, checkpointing"] = checkpointing["ours"]
    harness.print_table(rows, ratios)
    before, after = (row["activation_bytes"] / 1e6 for row in (stages["2"]["ours"], checkpointing["ours"]))
    print(
        f"checkpointing: {after:.0f} MB of activations instead of {before:.0f}, ratio "
        f"{checkpointing['activation_bytes_ratio']:.2f}; seconds, ratio {checkpointing['seconds_ratio']:.2f}"
    )
    if scaling:
        one, two = scaling["one"], scaling["two"]
        speeds = f"{two['samples_per_second']:.3g} samples per second instead of {one['samples_per_second']:.3g}"
        print(f"two processes: {speeds}, ratio {scaling['ratio']:.2f}")
        if "data_share" in two:
            print(f"waiting for data: {one['data_share']:.1%} with one process, {two['data_share']:.1%} with two")


def _settings(options):
    batch, frames = options.batch or 4, 8 if options.frames is None else options.frames
    if not 1 <= frames <= MAX_FRAMES:
        raise InputError(f"--frames {frames} does not fit the motion modules; 1 to {MAX_FRAMES} is accepted")
    networks = SMALL if options.small else MIDDLE
    scaling = {**networks, "side": 8 * options.size, "batch": batch, "steps": options.steps}
    with_scaling = not options.small if options.scaling is None else options.scaling
    return {
        "networks": {
            **networks,
            "attention_heads": HEADS,
            "motion_max_seq_length": MAX_FRAMES,
            "repeats": options.repeats,
            "threads": options.threads,
        },
        "latents": {
            "1": [batch, 4, 1, options.size, options.size],
            "2": [1, 4, frames, options.size, options.size],
        },
        "dtype": "float32",
        "rounds": options.rounds,
        "scaling": scaling if with_scaling else None,
    }
