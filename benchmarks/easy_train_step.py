"""What `train_step --system easy_animate` measures: a step of EasyAnimate V4's transformer beside the same in torch.

The network is the one for inpainting with CLIP's tokens at a quarter of all of V4's widths (4 heads of 88 channels),
with its 40 blocks, all of which learn, on random latents, texts and views of 24 frames of 256x256 pixels: 1,536
tokens. A step is forward pass, loss, backward pass, AdamW and clearing the gradients, in fp32.

    ours          scripts/trainer_easy_animate.py's model and loss, Paddle eager
    torch_sdpa    the same network in torch with scaled_dot_product_attention, of the same weights, if PEER_PYTHON
                  names a Python that has torch and diffusers; fixed tables of positions are made once there

A run in which predictions, losses, or norms of all gradients of both differ ends in an error. Contestants take turns
(--rounds). Seconds are the median of all steps after warm-ups; `processor_seconds`, of all threads together, change
less with what else the machine does. `data` (--scaling; left out with --small unless asked for) is of the trainer with
all of V4's networks at a quarter of their widths, on clips that it reads, see `cached_latents`.
"""

import math
import statistics
import tempfile

from benchmarks import cached_latents, harness
from benchmarks.dit_step import SMALL
from ppdiffusers_ext.errors import InputError

PEER = "torch_sdpa"
FRAMES = 24
QUARTER = {
    "num_attention_heads": 4,
    "attention_head_dim": 88,
    "hidden_size": 352,
    "cross_attention_dim": 256,
    "cross_attention_dim_t5": 512,
    "pooled_projection_dim": 256,
    "projection_dim": 192,
    "text_len": 77,
    "text_len_t5": 256,
    "n_query": 16,
}
_SAME = {"prediction": 1e-3, "losses": 1e-4, "gradient_norm": 1e-4}  # relative; fp32 leaves about 1e-6


def compete(options):
    settings = _settings(options)
    python = harness.peer_python("torch", "diffusers")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        files = {"weights": f"{folder}/weights.safetensors", "tables": f"{folder}/tables.npz"}
        given = {**settings, **files}
        harness.run_contestant("easy_training", "weights", given, title="nothing yet: writing weights")
        contestants = {"ours": ("easy_training", "ours", {**given, "output": f"{folder}/ours.npy"})}
        if python:
            of_peer = {**given, "output": f"{folder}/peer.npy"}
            contestants[PEER] = ("easy_training_peer", PEER, of_peer, python)
        else:
            print(f"{PEER} is left out: PEER_PYTHON does not name a Python with torch and diffusers")
        rows = harness.run_in_turn(contestants, options.rounds)
        for row in rows.values():
            row["processor_seconds"] = statistics.median(row["processor_times"])
        if python:
            check_same(rows["ours"], rows[PEER], _difference(f"{folder}/ours.npy", f"{folder}/peer.npy"))
    data = _measure_data(options)
    fields = harness.result(rows["ours"], {name: rows[name] for name in contestants if name != "ours"})
    harness.print_table(rows, fields["ratios"])
    processor_ratios = {
        name: peer["processor_seconds"] / rows["ours"]["processor_seconds"] for name, peer in fields["peers"].items()
    }
    for name, ratio in processor_ratios.items():
        of_peer, of_ours = (rows[key]["processor_seconds"] for key in (name, "ours"))
        print(f"processor seconds: {of_ours:.2f} of ours, {of_peer:.2f} of {name}, ratio {ratio:.2f}")
    if data:
        print(f"waiting for data: {data['data_share']:.1%} of the trainer's time")
    return {**fields, "processor_ratios": processor_ratios, "data": data, "settings": settings}


def check_same(ours, peer, difference):
    """Refuse a comparison of different computations.

    Args:
        ours, peer: what contestants said of their runs.
        difference: of their predictions, as a part of the largest number.

    Raises:
        ContestantError: predictions, losses, gradients or numbers of learning parameters differ.
    """
    counts = [row["trained_parameters"] for row in (ours, peer)]
    if counts[0] != counts[1]:
        raise harness.ContestantError(f"{counts[0]} parameters of ours learn, and {counts[1]} of the peer's")
    if not difference <= _SAME["prediction"]:
        raise harness.ContestantError(f"{PEER} differs from ours by {difference:.3g} of the largest number")
    for name in ("losses", "gradient_norm"):
        numbers = [row[name][0] if isinstance(row[name], list) else row[name] for row in (ours, peer)]
        if not math.isclose(*numbers, rel_tol=_SAME[name]):
            raise harness.ContestantError(f"{name} of ours begin with {numbers[0]}, and {numbers[1]} of the peer")


def _difference(path, expected):
    import numpy as np

    array, other = np.load(path), np.load(expected)
    return float(np.abs(array - other).max() / np.abs(other).max())


def _measure_data(options):
    if options.small if options.scaling is None else not options.scaling:
        return None
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        settings = cached_latents.settings_of(options.small, options.steps)
        cached_latents.write_all(folder, settings)
        return cached_latents.train(folder, "clips", settings)


def _settings(options):
    frames = FRAMES if options.frames is None else options.frames
    if frames < 8 or frames % 8:
        raise InputError(f"--frames {frames} does not fit the autoencoder; a multiple of 8 is accepted")
    if options.layers < 2 or options.layers % 2:
        raise InputError(f"--layers {options.layers} does not fit the network; an even number from 2 on is accepted")
    widths = {**SMALL, "n_query": 16} if options.small else QUARTER
    return {
        "network": {**widths, "num_layers": options.layers},
        "latents": [options.batch or 1, 4, frames // 4, options.size, options.size],
        "threads": options.threads,
        "repeats": options.repeats,
        "rounds": options.rounds,
        "gradient_checkpointing": False,
        "dtype": "float32",
    }
