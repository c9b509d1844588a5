"""Predict how much memory an animation takes on every rung of the memory ladder, before anything is loaded.

    python -m scripts.plan_memory --config configs/inference/animation.yaml -W 512 -H 784 -L 120

Options are those of scripts.pose2vid. Of the model only the configurations are read: weights need not be there yet.
Figures are peaks of the whole process in GB (10^9 bytes); those for a GPU have not been measured.
"""

import json
import sys

from scripts import pose2vid
from scripts.command import run


def make_parser():
    parser = pose2vid.make_parser("python -m scripts.plan_memory", __doc__)
    parser.add_argument("--json", metavar="FILE", help="also write the figures, in bytes, as JSON")
    return parser


def work(options):
    """Print a line for each rung, and which of them fits into what is free."""
    from pathlib import Path

    from ppdiffusers_ext.data.outputs import check_writable, output_file

    config = pose2vid.read_config(options)
    if options.json:
        check_writable(options.json)

    from ppdiffusers_ext.pipelines.memory_plan import GB, available_memory, plan_memory
    from ppdiffusers_ext.runtime import Runtime

    runtime = Runtime.choose(config.device, config.weight_dtype)
    plans, available = plan_memory(config, runtime), available_memory()
    print(f"{config.width}x{config.height}, {config.length} frames, engine {config.engine} on {runtime.device}")
    for plan in plans:
        print(plan if plan.host <= available else f"{plan}; more than the {available / GB:.1f} GB that are free")
    if options.json:
        fields = {"available": available, "rungs": {plan.rung: vars(plan) for plan in plans}}
        with output_file(options.json) as path:
            Path(path).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
