"""What a user is told of the engine `auto`."""

from typing import TYPE_CHECKING

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.pipelines.engines import automatic_backend

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.options import RunOptions


def tell_engine(config: "RunOptions", precision: str) -> str:
    """Words for what `auto` runs the networks of a configuration in: none where that is no question, as on a GPU."""
    backend = automatic_backend()
    if config.engine != "auto" or backend is None:
        return ""
    if current_ranks().count > 1:
        return f", engine auto (Paddle), divided over {current_ranks().count} processes"
    if config.chosen_engine == "eager":
        return f", engine auto (Paddle, for {config.only_in_paddle})"
    if config.chosen_engine != "auto":
        return f", engine auto ({config.chosen_engine}, for weights {config.weights})"
    if backend.missing:
        return f", engine auto (Paddle; {backend.name}, which is faster on CPUs, is not installed: {backend.remedy})"
    if precision not in backend.precisions:
        return ""
    return f", engine auto (Paddle; {backend.name} where an export is at hand or pays)"
