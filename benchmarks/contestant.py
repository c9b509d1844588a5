"""The process of one contestant: `python -m benchmarks.contestant MODULE NAME SETTINGS` prints a line of JSON.

MODULE is a module of this package whose `CONTESTANTS[NAME]` is called with SETTINGS (a dict, as JSON) and returns the
dict to print. Only the standard library is imported here, and by the modules until the call: a peer's Python has
neither Paddle nor this project's other requirements.
"""

import importlib
import importlib.metadata
import json
import statistics
import sys
import time

PATIENCE = 60  # seconds


def timed(call, clock=time.perf_counter):
    """Seconds of `call()`."""
    start = clock()
    call()
    return clock() - start


def measure(call, repeats):
    """Seconds of `call()`: the median of `repeats` after a warm-up. The dict has every single time as well.

    `processor_times` are seconds of all threads together, which other work on the machine distorts less. A call of
    more than `PATIENCE` seconds is timed once after its warm-up.
    """
    warmup, times, processor_times = timed(call), [], []
    for _ in range(repeats if warmup <= PATIENCE else 1):
        processor_times.append(timed(lambda: times.append(timed(call)), time.process_time))
    return {
        "seconds": statistics.median(times),
        "times": times,
        "processor_times": processor_times,
        "warmup_seconds": warmup,
    }


def measure_clip(pipeline, animate, path):
    """Seconds of `animate()`, whose frames go to a file, without those in which a pipeline of ours makes exports."""
    import numpy as np

    before = pipeline.preparation_seconds
    total = timed(lambda: np.save(path, animate()))
    preparation = pipeline.preparation_seconds - before
    return {
        "seconds": total - preparation,
        "preparation_seconds": preparation,
        "peak_bytes": peak_bytes(),
        "versions": versions("paddlepaddle", "ppdiffusers"),
    }


def peak_bytes():
    """The most memory that this process has had in RAM so far."""
    # Not before the call that is measured: importing the package chooses how fast MKL is, a peer's too.
    from ppdiffusers_ext.environment import peak_memory

    return peak_memory()


def versions(*packages):
    """Versions of installed packages by name, and Python's."""
    found = {"python": sys.version.split()[0]}
    found.update({package: importlib.metadata.version(package) for package in packages})
    return found


def main(module, name, settings):
    result = importlib.import_module(f"benchmarks.{module}").CONTESTANTS[name](json.loads(settings))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
