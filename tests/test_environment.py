"""The settings that make Paddle fast on a CPU."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppdiffusers_ext import environment
from ppdiffusers_ext.environment import available_cores, choose_fast_mkl, lacks_bf16, mkl_cpu_type, read_processor

ROOT = Path(__file__).parents[1]
AVX2 = {"sse2", "avx", "avx2", "fma"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
CPUINFO = """processor\t: 0
vendor_id\t: {vendor}
model name\t: a processor
flags\t\t: {flags}
bogomips\t: 1.0

processor\t: 1
vendor_id\t: Other
flags\t\t: none
"""


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", AVX512, "7"),
        ("AuthenticAMD", AVX2, "5"),
        ("AuthenticAMD", AVX512 - {"avx512vl"}, "5"),
        ("AuthenticAMD", AVX2 - {"fma"}, None),
        ("AuthenticAMD", {"sse2"}, None),
        ("AuthenticAMD", set(), None),
        ("GenuineIntel", AVX512, None),
        ("GenuineIntel", AVX2, None),
        ("", set(), None),
    ],
)
def test_mkl_path_is_chosen_for_amd_by_its_instructions(vendor, flags, expected):
    assert mkl_cpu_type(vendor, flags) == expected


def test_first_processor_of_cpuinfo_is_read(tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(vendor="AuthenticAMD", flags=" ".join(sorted(AVX2))))
    assert read_processor(tmp_path / "cpuinfo") == ("AuthenticAMD", AVX2)


def test_missing_cpuinfo_leaves_the_choice_to_mkl(tmp_path):
    assert mkl_cpu_type(*read_processor(tmp_path / "cpuinfo")) is None


def test_cpuinfo_of_another_architecture_leaves_the_choice_to_mkl(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n")
    assert mkl_cpu_type(*read_processor(tmp_path / "cpuinfo")) is None


@pytest.mark.parametrize("flags, lacks", [({"fma"}, True), ({"fma", "amx_bf16"}, False), (set(), False)])
def test_processor_without_bf16_is_known_by_its_flags(flags, lacks):
    assert lacks_bf16(("GenuineIntel", flags)) == lacks


def test_fast_path_is_put_into_the_environment():
    environ = {}
    choose_fast_mkl(environ, ("AuthenticAMD", AVX512))
    assert environ == {"MKL_DEBUG_CPU_TYPE": "7"}


def test_users_own_path_wins():
    environ = {"MKL_DEBUG_CPU_TYPE": "4"}
    choose_fast_mkl(environ, ("AuthenticAMD", AVX512))
    assert environ == {"MKL_DEBUG_CPU_TYPE": "4"}


def test_environment_of_intel_is_left_alone():
    environ = {}
    choose_fast_mkl(environ, ("GenuineIntel", AVX512))
    assert environ == {}


@pytest.mark.parametrize(("cores", "processes", "expected"), [(8, None, 8), (8, "2", 4), (7, "2", 3), (2, "4", 1)])
def test_cores_are_shared_among_the_processes_of_a_launch(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    if processes is None:
        monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    else:
        monkeypatch.setenv("PADDLE_TRAINERS_NUM", processes)
    assert available_cores() == expected


def test_cores_are_counted_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    assert available_cores() == 1


def test_paddle_is_told_to_use_all_cores(monkeypatch):
    from paddle.base import core

    told = []
    monkeypatch.setattr(core, "set_num_threads", told.append)
    monkeypatch.setattr(environment, "_USER_THREADS", None)
    monkeypatch.setattr(environment, "available_cores", lambda: 3)
    environment.use_all_cores()
    assert told == [3]


def test_users_own_number_of_threads_wins(monkeypatch):
    from paddle.base import core

    told = []
    monkeypatch.setattr(core, "set_num_threads", told.append)
    monkeypatch.setattr(environment, "_USER_THREADS", "1")
    environment.use_all_cores()
    assert told == []


@pytest.mark.parametrize(
    ("variable", "modules", "expected"),
    [
        (None, {}, None),
        ("1", {}, "1"),
        ("1", {"paddle": None}, None),  # paddle writes it when it is imported
        ("4", {"paddle": None}, "4"),
    ],
)
def test_number_of_threads_counts_as_the_users_unless_paddle_wrote_it(monkeypatch, variable, modules, expected):
    if variable is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(sys, "modules", modules)
    assert environment._threads_of_user() == expected


class RecordingLibrary:
    """Stands in for the C library."""

    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        self.calls.append((parameter, value))


@pytest.fixture
def c_library(monkeypatch):
    library = RecordingLibrary()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    return library


def test_freed_memory_is_kept(c_library):
    environment.keep_freed_memory()
    assert {parameter for parameter, _ in c_library.calls} == {-1, -3}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_users_own_tuning_of_memory_wins(c_library, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    environment.keep_freed_memory()
    assert c_library.calls == []


def test_c_library_without_mallopt_is_no_problem(monkeypatch, c_library):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    environment.keep_freed_memory()


RESIDENT = """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell resident memory in other ways")
def test_freed_memory_goes_back_when_it_is_asked_to():
    code = RESIDENT + (
        "from ppdiffusers_ext import environment\n"
        "environment.keep_freed_memory()\n"
        "blocks = [bytearray(b'x' * 2**20) for _ in range(200)]\n"
        "full, last = resident(), bytearray(b'x' * 2**20)\n"  # above the others: only holes are freed
        "del blocks\n"
        "kept = resident()\n"
        "environment.return_freed_memory()\n"
        "print(full - kept, full - resident())"
    )
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    kept, returned = map(int, process.stdout.split())
    assert kept < 20 * 2**20 and returned > 150 * 2**20


def test_c_library_that_cannot_give_memory_back_is_no_problem(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    environment.return_freed_memory()


def run_python(code, **variables):
    """Run code in a Python that has none of our settings in its environment."""
    ours = ("MKL_DEBUG_CPU_TYPE", "OMP_NUM_THREADS", "PADDLE_TRAINERS_NUM")
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environ, **variables},
        check=True,
        timeout=300,
    )


def test_peak_memory_is_that_of_this_process_alone():
    code = (
        "import subprocess, sys\n"
        "if len(sys.argv) == 1:\n"
        "    block = bytearray(300_000_000)\n"
        "    del block\n"
        "from ppdiffusers_ext.environment import peak_memory\n"
        "print(peak_memory(), flush=True)\n"
        "if len(sys.argv) == 1:\n"
        "    subprocess.run([sys.executable, '-c', sys.orig_argv[2], 'child'], check=True)\n"
    )
    own, of_child = map(int, run_python(code).stdout.split())
    assert 3e8 < own < 4e8 and 1e6 < of_child < 1e8


def test_peak_memory_is_measured_where_there_is_no_proc(tmp_path):
    assert environment.peak_memory(tmp_path / "missing") >= 0.9 * environment.peak_memory()


def test_importing_the_package_chooses_the_path_of_this_processor_without_importing_paddle():
    code = "import os, sys, ppdiffusers_ext; print(os.environ.get('MKL_DEBUG_CPU_TYPE'), 'paddle' in sys.modules)"
    assert run_python(code).stdout.split() == [str(mkl_cpu_type(*read_processor())), "False"]


def test_importing_the_package_keeps_the_users_path():
    code = "import os, ppdiffusers_ext; print(os.environ['MKL_DEBUG_CPU_TYPE'])"
    assert run_python(code, MKL_DEBUG_CPU_TYPE="5").stdout.strip() == "5"


def test_importing_the_networks_sets_the_threads_in_silence():
    code = (
        "import ppdiffusers_ext\n"
        "from paddle.base import core\n"
        "core.set_num_threads, set_num_threads = lambda n: [set_num_threads(n), print(n)], core.set_num_threads\n"
        "import ppdiffusers_ext.models, ppdiffusers_ext.environment, paddle\n"
        "paddle.matmul(paddle.ones([8, 8]), paddle.ones([8, 8]))\n"
        "print(ppdiffusers_ext.environment.available_cores())"
    )
    result = run_python(code)
    told, cores = result.stdout.split()
    assert told == cores
    assert "OMP" not in result.stderr


@pytest.mark.parametrize("kind", ["none", "missing", "a file", "read-only", "writable", "chosen"])
def test_library_has_a_folder_whatever_the_home_is(tmp_path, kind, monkeypatch):
    home = tmp_path / "home"
    if kind in ("read-only", "writable"):
        home.mkdir()
    if kind == "a file":
        home.write_text("")
    environ = {"HOME": str(home / "deeper" if kind == "missing" else home)}
    if kind == "none":
        environ = {}
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # of a user whom the system does not know
    if kind == "chosen":
        environ["PPNLP_HOME"] = "/mine"
    if kind in ("missing", "read-only"):  # which the superuser may write into
        monkeypatch.setattr(os, "access", lambda *_: False)
    removed = []
    monkeypatch.setattr(environment.atexit, "register", lambda function, *given: removed.append((function, given)))
    environment.choose_library_folder(environ)
    folder = environ.get("PPNLP_HOME")
    if kind in ("writable", "chosen"):
        assert folder == {"writable": None, "chosen": "/mine"}[kind] and not removed
        return
    assert os.path.isdir(folder) and not os.path.exists(home / ".paddlenlp")
    ((function, given),) = removed
    function(*given)
    assert not os.path.exists(folder)
