"""The engines by name."""

from ppdiffusers_ext.data.chain.local import LocalEngine
from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.data.chain.tasks import Engine


def open_engine(options: ChainOptions) -> Engine:
    """The engine of a run.

    Raises:
        InputError: it is not installed.
    """
    return LocalEngine(options.workers)
