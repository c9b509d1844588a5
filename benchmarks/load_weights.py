"""Seconds and peak memory of loading a checkpoint file into a model, in three formats.

    PEER_PYTHON=/path/to/python python -m benchmarks load_weights --json load_weights.json

The model is a ReferenceNet with one layer a block: 2.3 GB of random fp32 numbers, 30% of them in Linear layers, which
torch's files hold transposed. The same weights are written as .safetensors and .pth (in torch's layout) and as
.pdparams, then loaded again, each time in a process of its own, in turn: by this project into a model without memory
of its own (`load_weights`), by `paddle.load` and `set_state_dict`, and by `torch.load` and `load_state_dict` into
diffusers' class if PEER_PYTHON names a Python that has both. Only this project checks checksums, names and that all
values are finite. The files are in the system's cache, and what is measured is the process's work, not the disk's.
`ours` is the slowest and the largest of the three formats.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks import harness
from benchmarks.contestant import peak_bytes, versions
from ppdiffusers_ext.errors import InputError

SMALL = {"layers_per_block": 1, "block_out_channels": [32, 32, 32, 32], "cross_attention_dim": 32}
LARGE = {"layers_per_block": 1, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768}
# The last values of a convolution, of a Linear layer (in either layout) and of a norm: of whoever loaded correctly.
_SAMPLES = ("conv_in.weight", "time_embedding.linear_1.weight", "mid_block.resnets.0.norm1.bias")
FORMATS = ("safetensors", "pth", "pdparams")


def add_arguments(parser):
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="processes of each contestant (default 3)")
    parser.add_argument("--folder", metavar="DIR", help="for the 7 GB of files, removed again (default: the system's)")
    parser.add_argument("--small", action="store_true", help="a model of a few megabytes, to try the benchmark")


def compete(options):
    if options.repeats < 1:
        raise InputError(f"--repeats {options.repeats} is too small; 1 or more is accepted")
    if options.folder is not None and not Path(options.folder).is_dir():
        raise InputError(f"--folder {options.folder} is no folder; an existing folder is accepted")
    torch = harness.peer_python("torch", "diffusers")
    model = SMALL if options.small else LARGE
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        settings = {"model": model, "path": str(Path(folder) / "weights.")}
        made = harness.run_contestant("load_weights", "make", settings, title="the files")
        contestants = {f"ours, .{ending}": ("ours", ending, {}) for ending in FORMATS}
        contestants["paddle.load, .pdparams"] = ("paddle_load", "pdparams", {})
        if torch:
            contestants["torch.load, .pth"] = ("torch_load", "pth", {"python": torch})
        rounds = [
            {
                title: harness.run_contestant(
                    "load_weights", name, {**settings, "ending": ending}, title=title, **more
                )
                for title, (name, ending, more) in contestants.items()
            }
            for _ in range(options.repeats)
        ]
    if len({tuple(row["values"]) for each in rounds for row in each.values()}) != 1:
        raise RuntimeError("the contestants have different numbers in their models")
    rows = {title: _median([row[title] for row in rounds]) for title in contestants}
    ours = {title: row for title, row in rows.items() if title.startswith("ours")}
    worst = {key: max(row[key] for row in ours.values()) for key in ("seconds", "peak_bytes")}
    peers = {title.partition(",")[0]: row for title, row in rows.items() if title not in ours}
    fields = harness.result(worst, peers, formats=ours, settings={**made, "model": model, "repeats": options.repeats})
    ratios = {title: fields["ratios"].get(title.partition(",")[0]) for title in rows if title not in ours}
    harness.print_table(rows, ratios)
    if not torch:
        print("torch.load is left out: PEER_PYTHON does not name a Python that has torch and diffusers")
    return fields


def _median(rows):
    middle = {key: statistics.median(row[key] for row in rows) for key in ("seconds", "peak_bytes", "before_bytes")}
    return {**middle, "times": [row["seconds"] for row in rows], "versions": rows[0]["versions"]}


def _make_paddle_model(settings):
    from ppdiffusers_ext.models.animate_anyone import ReferenceUNet
    from ppdiffusers_ext.weights.assignment import create

    options = {**settings["model"], "norm_num_groups": 32}
    return create(lambda: ReferenceUNet(**options))


def make(settings):
    """Write the files."""
    import paddle

    from benchmarks.networks import WEIGHT_STD, random
    from ppdiffusers_ext.weights.conversion import transposed_names
    from ppdiffusers_ext.weights.writing import write_safetensors, write_torch

    model = _make_paddle_model(settings)
    transposed = transposed_names(model)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    arrays = {name: random(shape[::-1] if name in transposed else shape, WEIGHT_STD) for name, shape in shapes.items()}
    write_safetensors(settings["path"] + "safetensors", arrays, {"format": "pt"})
    write_torch(settings["path"] + "pth", arrays)
    state = {name: paddle.to_tensor(array.T if name in transposed else array) for name, array in arrays.items()}
    paddle.save(state, settings["path"] + "pdparams")
    sizes = {ending: Path(settings["path"] + ending).stat().st_size for ending in FORMATS}
    return {"tensors": len(arrays), "file_bytes": sizes}


def _measure(load, model, *packages):
    import time

    before, start = peak_bytes(), time.perf_counter()
    load()
    seconds = time.perf_counter() - start
    parameters = dict(model.named_parameters())
    values = [float(parameters[name].detach().flatten()[-1]) for name in _SAMPLES]
    row = {"seconds": seconds, "peak_bytes": peak_bytes(), "before_bytes": before, "values": values}
    return {**row, "versions": versions(*packages)}


def ours(settings):
    import ppdiffusers_ext.models  # noqa: F401
    from ppdiffusers_ext.weights.assignment import load_weights

    model = _make_paddle_model(settings)
    path = settings["path"] + settings["ending"]
    return _measure(lambda: load_weights(model, path), model, "paddlepaddle")


def paddle_load(settings):
    import paddle

    model = _make_paddle_model(settings)
    for parameter in model.parameters():
        parameter.initialize()
    path = settings["path"] + settings["ending"]
    return _measure(lambda: model.set_state_dict(paddle.load(path)), model, "paddlepaddle")


def torch_load(settings):
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        model = UNet2DConditionModel(**settings["model"], norm_num_groups=32)
    model = model.to_empty(device="cpu")
    path = settings["path"] + settings["ending"]
    # strict=False: diffusers' class has an output layer, which a ReferenceNet has not.
    return _measure(lambda: model.load_state_dict(torch.load(path), strict=False), model, "torch", "diffusers")


CONTESTANTS = {"make": make, "ours": ours, "paddle_load": paddle_load, "torch_load": torch_load}
