"""SIGTERM and SIGHUP end a command as Ctrl-C does, so that what is unfinished is removed on the way out."""

import contextlib
import importlib.abc
import importlib.util
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within it these signals raise `Stopped`, the first of them only: cleaning up is not to be stopped.

    A signal that is ignored, as under nohup, stays so.
    """
    earlier: dict = {}

    def stop(number: int, _: object) -> None:
        for each in earlier:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    is_main = threading.current_thread() is threading.main_thread()
    finder = _PaddleFinder()
    try:
        if is_main:
            sys.meta_path.insert(0, finder)
        for number in _SIGNALS if is_main else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                earlier[number] = signal.getsignal(number)
                signal.signal(number, stop)
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(finder)
        for number, handler in earlier.items():
            signal.signal(number, handler)


class _PaddleFinder(importlib.abc.MetaPathFinder):
    """Has Paddle, when it is imported, leave signals alone: it would dump a trace and die of SIGTERM."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "paddle":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Undisturbed(spec.loader)
        return spec


class _Undisturbed(importlib.abc.Loader):
    """Loads Paddle while signals wait, for it cannot be interrupted, and takes its handlers away."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        paddle: Any = module
        waiting = [signal.SIGINT, *_SIGNALS]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
        try:
            self._loader.exec_module(module)
            disable = paddle.disable_signal_handler

            def leave_signals_alone() -> None:
                """Take Paddle's handlers away, which forgets those of Python: the system is told of them anew."""
                disable()
                for number in waiting:
                    signal.signal(number, signal.getsignal(number))

            leave_signals_alone()
            paddle.disable_signal_handler = leave_signals_alone  # paddlenlp calls it, too
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
