"""Measure this project, and public peers beside it.

python -m benchmarks NAME [--json FILE]
python -m benchmarks NAME --help
"""

import sys

import scripts  # noqa: F401  # first: tells of packages that this Python lacks
from benchmarks import (
    batch_jobs,
    block_cache,
    cached_latents,
    clip,
    clip_memory,
    data_chain,
    denoising_step,
    dit_step,
    easy_vae,
    gpu_check,
    growth,
    harness,
    hjb,
    identity,
    load_weights,
    memory_plan,
    metrics,
    preprocess,
    progress,
    ranks,
    server_load,
    startup,
    svd_step,
    train_step,
    training_clips,
    training_memory,
    video_attention,
)
from scripts.command import ArgumentParser, run

BENCHMARKS = {
    "batch_jobs": batch_jobs,
    "block_cache": block_cache,
    "cached_latents": cached_latents,
    "clip": clip,
    "clip_memory": clip_memory,
    "data_chain": data_chain,
    "denoising_step": denoising_step,
    "dit_step": dit_step,
    "easy_vae": easy_vae,
    "gpu_check": gpu_check,
    "growth": growth,
    "hjb": hjb,
    "identity": identity,
    "load_weights": load_weights,
    "memory_plan": memory_plan,
    "metrics": metrics,
    "preprocess": preprocess,
    "progress": progress,
    "ranks": ranks,
    "server_load": server_load,
    "startup": startup,
    "svd_step": svd_step,
    "train_step": train_step,
    "training_clips": training_clips,
    "training_memory": training_memory,
    "video_attention": video_attention,
}


def make_parser():
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in BENCHMARKS.items():
        benchmark = names.add_parser(name, description=module.__doc__, help=module.__doc__.splitlines()[0])
        benchmark.add_argument("--json", metavar="FILE", help="also write the result as JSON")
        module.add_arguments(benchmark)
    return parser


def work(options):
    return harness.run(options.name, BENCHMARKS[options.name], options)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
