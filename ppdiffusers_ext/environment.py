"""Settings of the process that decide how fast Paddle is on a CPU, and where its libraries may write.

Three defaults are slow, and all can be changed without touching results:

- The bundled MKL library takes its slowest path on processors that are not Intel's. It still honours
  ``MKL_DEBUG_CPU_TYPE`` (7 is AVX-512, 5 is AVX2), which it reads at its first call. The value must be one that the
  processor really has, or the process dies of an illegal instruction.
- Eager mode computes on one thread. ``OMP_NUM_THREADS`` changes that, but Paddle answers it with a warning about data
  parallelism on every start; the setter that Paddle offers in-process does the same in silence.
- glibc gives large blocks back to the system when they are freed, and gets them anew, page by page, for the next
  layer's output: half of the time of a denoising call. Keeping them costs some memory that the peak needed anyway.

What the user has set in the environment is left alone.
"""

import atexit
import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import MutableMapping

from ppdiffusers_ext.errors import InputError, shown

# glibc's mallopt: parameters, and the largest value an int takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_INT = 2**31 - 1
_MOST_DIGITS = 7  # of the number of processes

_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_AVX2 = {"avx2", "fma"}
_BF16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert"}


def read_processor(path: str | os.PathLike = "/proc/cpuinfo") -> tuple[str, set[str]]:
    """The vendor and the instruction sets of the first processor: ``(str, set of str)``, empty where unknown."""
    vendor, flags = "", set()
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "vendor_id":
                    vendor = value.strip()
                elif name.strip() == "flags":
                    flags = set(value.split())
                    break
    except OSError:
        pass  # not Linux: MKL chooses by itself
    return vendor, flags


def mkl_cpu_type(vendor: str, flags: set[str]) -> str | None:
    """The ``MKL_DEBUG_CPU_TYPE`` that suits an AMD processor, or None where MKL should choose by itself."""
    if vendor != "AuthenticAMD":
        return None
    if flags >= _AVX512:
        return "7"
    if flags >= _AVX2:
        return "5"
    return None


def lacks_bf16(processor: tuple[str, set[str]] | None = None) -> bool:
    """True if a processor is known to have no arithmetic in bf16; this one if it is left out."""
    _, flags = processor or read_processor()
    return bool(flags) and not flags & _BF16


def choose_fast_mkl(
    environ: MutableMapping[str, str] = os.environ, processor: tuple[str, set[str]] | None = None
) -> None:
    """Put the fast MKL path into the environment, unless the user has chosen one. Call before the first product."""
    cpu_type = mkl_cpu_type(*(processor or read_processor()))
    if cpu_type is not None:
        environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)


def choose_library_folder(environ: MutableMapping[str, str] = os.environ) -> None:
    """Give PaddleNLP another folder where it cannot make the one in the user's home, as it does at its import.

    A container's user may have no home, or one that cannot be written. Nothing of use is put there; the folder is
    removed at the end of the process.
    """
    if "PPNLP_HOME" in environ:
        return
    folder = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".paddlenlp")
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    if os.path.isabs(folder) and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
        return
    with contextlib.suppress(OSError):  # no place for it: PaddleNLP tells that
        environ["PPNLP_HOME"] = made = tempfile.mkdtemp(prefix="ppdiffusers_ext-")
        atexit.register(_remove_folder, made, os.getpid())


def _remove_folder(folder: str, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _threads_of_user() -> str | None:
    # Importing paddle writes "1" where the variable was not set, so a "1" that is found afterwards says nothing.
    threads = os.environ.get("OMP_NUM_THREADS")
    return None if threads == "1" and "paddle" in sys.modules else threads


_USER_THREADS = _threads_of_user()


def available_cores() -> int:
    """The number of processors for this process: those it may use, shared among the processes of a launch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes_here())


def processes_here() -> int:
    """How many processes of a launch are on this machine, this one among them."""
    return of_launch("PADDLE_LOCAL_SIZE", of_launch("PADDLE_TRAINERS_NUM", 1))


def of_launch(name: str, default: int, least: int = 1) -> int:
    """A number that Paddle's launcher has put into the environment.

    Args:
        name: of the variable.
        default: what it is where there is no launcher.
        least: that it can be.

    Raises:
        InputError: somebody else has put something else there.
    """
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS and int(text) >= least):
        raise InputError(
            f"{name} of the environment is {shown(text)}; a whole number from {least} is accepted, as scripts.launch "
            "sets it, or none: then one process works alone"
        )
    return int(text)


def use_all_cores() -> None:
    """Let Paddle's eager mode compute on all processors of this process, unless the user has set the number."""
    from paddle.base import core

    if _USER_THREADS is None:
        core.set_num_threads(available_cores())


def keep_freed_memory() -> None:
    """Let the C library reuse freed memory instead of returning it to the system, unless the user has tuned that."""
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:  # not in every C library
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)


def return_freed_memory() -> None:
    """Give the system back what was freed and kept: for when so much is free that the next layers cannot need it."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if malloc_trim is not None:
        malloc_trim(0)


def peak_memory(path: str | os.PathLike = "/proc/self/status") -> int:
    """The most bytes that this process has had in RAM so far."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        import resource  # not on Windows

        # Not on Linux, where this number begins with the peak of the process that started this one.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else
