"""Who watches a run is told of its stages, its progress and its steps, and may end it.

A command shows a progress bar; a server wants numbers, a picture of what is being denoised, and a way to stop within
a step. What watches is set for a block, so that no run has to hand it on:

    with watched_by(watch):
        animate(config)
"""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import paddle

LOADING, POSES, DENOISING, DECODING, MEASURING = STAGES = "loading", "poses", "denoising", "decoding", "measuring"

_current: contextvars.ContextVar = contextvars.ContextVar("watch", default=None)
_Item = TypeVar("_Item")


class RunStopped(KeyboardInterrupt):
    """Whoever watches a run ends it: all is left as after Ctrl-C, without results that are half written."""


class Watch:
    """What is told of a run. Each method may raise `RunStopped`; none must take long."""

    def planned(self, rung: str, peak: int, available: int) -> None:
        """The run fits: its rung of the memory ladder, and bytes of host memory at its peak and that there are."""

    def part(self, number: int, count: int) -> None:
        """A part of a long video begins, `number` from 0 on of `count`; its stages follow."""

    def stage(self, name: str, total: int) -> None:
        """One of `STAGES` begins, of `total` units of work."""

    def advance(self, count: int = 1) -> None:
        """So many units of the stage are done."""

    def after_step(self, pipeline: Any, latents: "paddle.Tensor", step: int, count: int) -> None:
        """A denoising step is done.

        Args:
            pipeline: the `NetworkPipeline`.
            latents: what the scheduler expects the clip to become, or where it does not say, the noisy latents, in
                the shape in which the pipeline denoises them.
            step: its number, from 1 to `count`.
        """


@contextlib.contextmanager
def watched_by(watch: Watch) -> Iterator[None]:
    """Within it runs tell `watch` what they do."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


def current_watch() -> Watch:
    """The `Watch` of the block that this is called in; one that does nothing where there is none."""
    return _current.get() or _NOBODY


_NOBODY = Watch()


def told(items: Iterable[_Item], stage: str, total: int) -> Iterator[_Item]:
    """The items one by one, of a stage that each of them is a unit of."""
    watch = current_watch()
    watch.stage(stage, total)
    for item in items:
        yield item
        watch.advance()


class WatchedBar:
    """A progress bar of denoising, which also tells the current `Watch`.

    Args:
        bar: of tqdm.
        total: units.
    """

    def __init__(self, bar: Any, total: int) -> None:
        self._bar, self._watch = bar, current_watch()
        self._watch.stage(DENOISING, total)

    def __enter__(self) -> "WatchedBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, count: int = 1) -> None:
        self._bar.update(count)
        self._watch.advance(count)

    def set_description(self, text: str) -> None:
        self._bar.set_description(text)

    def set_postfix(self, **values: Any) -> None:
        self._bar.set_postfix(**values)
