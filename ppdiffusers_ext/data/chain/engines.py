"""The engines by name."""

import os

from ppdiffusers_ext.data.chain.engine_ray import RayEngine
from ppdiffusers_ext.data.chain.local import LocalEngine
from ppdiffusers_ext.data.chain.options import RAY, ChainOptions
from ppdiffusers_ext.data.chain.tasks import Engine


def open_engine(options: ChainOptions) -> Engine:
    """The engine of a run.

    Raises:
        InputError: it is not installed.
    """
    if options.engine == RAY:
        return RayEngine(options.workers)
    return LocalEngine(len(os.sched_getaffinity(0)) if options.workers is None else options.workers)
