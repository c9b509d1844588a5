"""Commands that several processes run together, as in `python -m scripts.launch --nproc_per_node 2 pose2vid ...`.

The first process reads and writes results, and prints. The others compute with it, and say nothing but errors.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any


def divided(work: Callable[[Any], int | None]) -> Callable[[Any], int | None]:
    """A command's work, which processes that were launched together divide among them; see `distributed.ranks`."""

    @functools.wraps(work)
    def together(options: Any) -> int | None:
        from ppdiffusers_ext.distributed.ranks import joined

        with joined() as ranks, contextlib.nullcontext() if ranks.is_first else _silently():
            return work(options)

    return together


@contextlib.contextmanager
def _silently() -> Iterator[None]:
    logging.getLogger("ppdiffusers_ext").setLevel(logging.ERROR)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
