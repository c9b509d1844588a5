"""Work of a batch of which tests know what it does, without Paddle, and a batch of it."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers_ext.batch.job_list import BatchJob
from ppdiffusers_ext.batch.manifest import Manifest
from ppdiffusers_ext.batch.run import IS_FULL, NAME, Batch
from ppdiffusers_ext.workers.local import LocalEngine


@dataclass
class Writing:
    """Writes its words; `die` ends the worker, `hang` never ends, `fail` is an error, `full` a full disk.

    Each call leaves a line.
    """

    calls: Path
    seconds: float = 0.0
    names = (NAME,)
    is_network = True

    def open(self):
        pass

    def __call__(self, row, names):
        values = row["values"]
        with open(self.calls, "a") as file:
            file.write(f"{values['output']} {os.getpid()}\n")
        words = values["words"]
        if words == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if words == "hang":
            time.sleep(3600)
        if words == "fail":
            return {NAME: {"error": "words are bad; good ones are accepted"}}
        if words == "full":
            return {NAME: {"error": "no space", IS_FULL: True}}
        time.sleep(self.seconds)
        Path(values["output"]).write_text(words)
        return {NAME: {"columns": {"seconds": 0.5, "memory": 7, "figures": {}, "stages": {"denoising": 0.25}}}}


def jobs_of(folder, *words):
    outputs = [str(folder / f"{number}.txt") for number in range(len(words))]
    return [
        BatchJob(number, "write", {"output": output, "words": text}, f"job {number}")
        for number, (output, text) in enumerate(zip(outputs, words), 1)
    ]


def run_batch(
    folder,
    jobs,
    workers=0,
    attempts=3,
    seconds=0.0,
    tell=lambda entry, progress: None,
    observer=None,
    timeout=float("inf"),
    inputs=(),
    begin=lambda progress: None,
):
    """A run: its `Manifest`, after all."""
    manifest = Manifest(folder / "manifest.jsonl")
    manifest.begin([(job.output, job.digest) for job in jobs])
    engine = LocalEngine(workers, threads=1)
    try:
        batch = Batch(jobs, manifest, lambda job: inputs, attempts, timeout)
        if observer is not None:
            batch.observe = observer(manifest)
        batch.run(engine, Writing(folder / "calls", seconds), tell, begin)
    finally:
        engine.close()
        manifest.close()
    return manifest


def calls_of(folder):
    """Names of outputs, in the order in which they were worked on."""
    path = folder / "calls"
    return [Path(line.split()[0]).stem for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    place = Path(sys.argv[1])
    run_batch(place, jobs_of(place, *map(str, range(int(sys.argv[2])))), workers=2, seconds=0.02)
