"""The same frames give the same file, whatever memory held before and however many processors there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = ["832x480", "576x1024"]

# Writes the same moving pictures into files of the sizes given, and prints a digest of each.
WRITE = """
import hashlib, sys
import numpy as np
from ppdiffusers_ext.data.video_writer import VideoWriter

path, count, *sizes = sys.argv[1:]
for size in sizes:
    width, height = map(int, size.split("x"))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    rng = np.random.default_rng(0)
    with VideoWriter(path, 25, width, height) as writer:
        for i in range(int(count)):
            ring = np.hypot(x - width / 2 - 9 * i, y - height / 2) / 2
            frame = np.stack([(x * 3 + y + i * 9) % 256, (y * 2 + i * 5) % 256, ring % 256], -1)
            noise = rng.integers(0, 24, frame.shape, dtype=np.uint8)
            writer.write((frame + noise).clip(0, 255).astype(np.uint8))
    print(size, hashlib.sha256(open(path, "rb").read()).hexdigest(), flush=True)
"""


def start(path, count, sizes, perturb, processors):
    """Write in a process in which memory that is new, or given back, holds other bytes than in the others."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_PERTURB_": str(perturb)}
    return subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path), str(count), *sizes],
        env=environment,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:processors]),
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="tells processes their processors")
def test_files_of_large_sizes_are_equal_bit_for_bit(tmp_path):
    runs = [start(tmp_path / f"{i}.mp4", 12, SIZES, perturb, 1 + i) for i, perturb in enumerate((1, 255))]
    digests = {run.communicate(timeout=300)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0] and len(digests) == 1
    assert len(digests.pop().split()) == 2 * len(SIZES)
