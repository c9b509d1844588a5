"""The engines by name."""

import os

from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.workers.local import LocalEngine
from ppdiffusers_ext.workers.ray_engine import RayEngine
from ppdiffusers_ext.workers.tasks import RAY, Engine


def open_engine(options: ChainOptions) -> Engine:
    """The engine of a run.

    Raises:
        InputError: it is not installed.
    """
    if options.engine == RAY:
        return RayEngine(options.workers)
    return LocalEngine(len(os.sched_getaffinity(0)) if options.workers is None else options.workers)
