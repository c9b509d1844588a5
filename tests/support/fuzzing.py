"""What all fuzz tests share: how many examples are tried, and what each must keep to.

A test gives one boundary of the library (options, YAML, configurations, manifests, answers of servers, media, LoRA
names, archives) what hypothesis makes for it, within `bounded`, and lets the named errors pass: anything else raised,
10 seconds, or a gigabyte is a failure.

    @fuzz(text=st.text())
    def test_yaml(text):
        with refused_or_read():
            parse_yaml(text, "configuration", "YAML is needed")

`make test` tries the same 200 examples every time. `make fuzz MINUTES=60` sets FUZZ_EXAMPLES and tries others.
"""

import contextlib
import faulthandler
import gc
import os
import signal

from hypothesis import HealthCheck, given, settings

from ppdiffusers_ext.errors import InputError

IS_LONG = "FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
MOST_SECONDS = 10
MOST_BYTES = 1 << 30
_kept = 0  # bytes that stayed in memory when it was last tidied


class Hang(Exception):
    """An example took too long."""


def fuzz(examples=EXAMPLES, **strategies):
    """Decorate a test that takes what the strategies make. Fixtures of pytest are shared by all examples."""

    def decorate(test):
        checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
        how = {"deadline": None, "suppress_health_check": checks, "print_blob": True}
        how |= {} if IS_LONG else {"derandomize": True, "database": None}
        return settings(max_examples=examples, **how)(given(**strategies)(test))

    return decorate


@contextlib.contextmanager
def refused_or_read():
    """The named errors are an answer; anything else raised, and what breaks `bounded`, is not."""
    with bounded(), contextlib.suppress(InputError):
        yield


@contextlib.contextmanager
def bounded(most=MOST_BYTES):
    """Raises `Hang` after 10 seconds, and AssertionError where memory grew by more than `most` bytes.

    Where the hang is in a library's own code, which Python's signals do not end, the process dies with a traceback.
    """
    before = _reset_peak()
    _die_after(6 * MOST_SECONDS)
    earlier = signal.signal(signal.SIGALRM, _raise_hang)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
        _die_after(0)
    grown = _status("VmHWM") - before
    assert grown <= most, f"{grown >> 20} MiB for one example"


def _die_after(seconds):
    """Have this process die with a traceback after seconds of computing, unless this is called again; 0 for never.

    The signal's handler is in C. `faulthandler.dump_traceback_later` takes a thread, and 4 ms, each time.
    """
    faulthandler.register(signal.SIGPROF, chain=True)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _raise_hang(*_):
    raise Hang(f"more than {MOST_SECONDS} seconds for one example")


def _reset_peak():
    """Bytes in memory now, from which on the peak is counted anew."""
    global _kept
    now = _status("VmRSS")
    if now > _kept + MOST_BYTES:  # not each time: it takes long in a process that holds much
        gc.collect()
        now = _kept = _status("VmRSS")
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return now


def _status(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))
