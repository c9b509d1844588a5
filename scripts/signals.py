"""SIGTERM and SIGHUP end a command as Ctrl-C does, so that what is unfinished is removed on the way out."""

import contextlib
import signal
import threading

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end; `number` says which."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def stopped_by_signals():
    """Within it these signals raise `Stopped`, the first of them only: cleaning up is not to be stopped.

    A signal that is ignored, as under nohup, stays so.
    """
    earlier = {}

    def stop(number, _):
        for each in earlier:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    try:
        for number in _SIGNALS if threading.current_thread() is threading.main_thread() else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                earlier[number] = signal.getsignal(number)
                signal.signal(number, stop)
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
