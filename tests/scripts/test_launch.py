"""The launcher of several processes: what it refuses at once, and what it leaves to Paddle's."""

import importlib
import logging
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest

from scripts import launch
from tests.support.holder import Holder

TRAINER = "scripts/trainer_stage1.py"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus", "0,1,2,3", TRAINER], "--gpus 0,1,2,3 needs a Paddle with CUDA, and this one is for CPUs"),
        (["--gpus=0", TRAINER], "--gpus 0 needs a Paddle with CUDA"),
        (["--devices", "0", TRAINER], "--devices 0 needs a Paddle with CUDA"),
        (["--gpus", "a,b", TRAINER], "--gpus 'a,b' names no GPUs"),
        (["--gpus", "9" * 5000, TRAINER], "names no GPUs"),
        (["--gpus", "", TRAINER], "--gpus '' names no GPUs"),
        (["--gpus", TRAINER], "names no GPUs"),
        ([], "there is no trainer to start"),
        (["--nproc_per_node", "2"], "there is no trainer to start"),
        (["nowhere.py"], "trainer nowhere.py does not exist"),
        (["--gpus", "0", "-m", "scripts.pose2vid"], "--nproc_per_node 2 in its place runs on the CPU"),
        (
            ["--nproc_per_node", "2", "-m", "scripts.batch", "jobs.csv"],
            "scripts.batch works in one process, `python -m scripts.batch`; to start in several, animate, pose2vid, ",
        ),
        (["--nproc_per_node", "2", "check-dataset", "clips"], "scripts.check_dataset works in one process"),
        (["scripts/evaluate.py", "a.mp4"], "scripts.evaluate works in one process"),
    ],
)
def test_what_cannot_be_started_is_told_in_a_line(capsys, monkeypatch, words, message):
    monkeypatch.setattr(launch, "_start", lambda words, *_: pytest.fail(f"started {words}"))
    assert launch.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line and len(line) < 1000


@pytest.mark.parametrize(("count", "code"), [(4, 0), (2, 2), (0, 2)])
def test_gpus_are_counted(capsys, monkeypatch, count, code):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: count)
    monkeypatch.setattr(launch, "_start", lambda *_: 0)
    assert launch.main(["--gpus", "0,3", TRAINER]) == code
    if code:
        number = {2: 3, 0: 0}[count]
        assert f"this machine has {count} GPUs, and no number {number}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--nproc_per_node", "2", "--backend", "gloo", TRAINER, "--backend", "gloo"],
            ["--log_level", "ERROR", "--nproc_per_node", "2", TRAINER, "--backend", "gloo"],
        ),
        (["--backend=gloo", "--log_level=INFO", TRAINER], ["--log_level=INFO", TRAINER]),
        (["--nproc_per_node=2", TRAINER, "--debug"], ["--nproc_per_node=2", TRAINER, "--debug"]),
        (
            ["--nnodes=2", "--rank=1", "--master=a:1", "--backend=gloo", TRAINER, "--debug"],
            ["--nnodes=2", "--rank=1", "--master=a:1", "--log_dir", "log/1", TRAINER, "--debug"],
        ),
        (
            ["--nnodes=2", "--rank=1", "--master=a:1", "--log_dir=logs", TRAINER],
            [
                *("--log_level", "ERROR", "--nnodes=2", "--rank=1", "--master=a:1"),
                *("--log_dir=logs", "--log_dir", "logs/1", TRAINER),
            ],
        ),
    ],
)
def test_options_go_to_paddles_launcher_and_the_trainer(monkeypatch, words, expected):
    started = []
    monkeypatch.setattr(launch, "_start", lambda words, *_: started.extend(words))
    assert launch.main(words) == 0
    assert started == expected


def test_value_of_an_option_may_be_the_name_of_a_command(monkeypatch, tmp_path):
    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "_start", lambda words, *_: started.extend(words))
    Path("batch.py").write_text("")  # a trainer of one's own
    assert launch.main(["--log_dir", "batch", "batch.py"]) == 0
    assert started[-3:] == ["--log_dir", "batch", "batch.py"]


@pytest.mark.parametrize(
    "words", [["-m", "scripts.pose2vid"], ["scripts.pose2vid"], ["pose2vid"], ["scripts/pose2vid.py"]], ids=str
)
def test_commands_that_make_videos_are_started_by_file_or_by_name(monkeypatch, words):
    started = []
    monkeypatch.setattr(launch, "_start", lambda words, *_: started.extend(words))
    assert launch.main(["--nproc_per_node", "2", *words, "--seed", "1"]) == 0
    assert started[-3].endswith("scripts/pose2vid.py") and started[-2:] == ["--seed", "1"]
    assert started[:-3] == ["--log_level", "ERROR", "--nproc_per_node", "2"]


def test_launches_at_once_have_logs_of_their_own(tmp_path, monkeypatch, capsys):
    started, holder, trainer = [], Holder(), str(Path(TRAINER).resolve())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "_start", lambda words, *_: started.append(words))
    try:
        for held in ("log/workerlog.0", "log_2/workerlog.0"):
            Path(held).parent.mkdir()
            holder.hold(tmp_path / "log/workerlog.0", tmp_path / held)
            assert launch.main([trainer]) == launch.main(["--log_dir", "mine", trainer]) == 0
        assert launch.main(["--log_dir", "log", trainer]) == 2
        assert "log/workerlog.0 is being written by process " in capsys.readouterr().err
    finally:
        holder.end()
    shown, named = ["--log_level", "ERROR"], ["--log_dir", "mine", trainer]
    assert started == [
        [*shown, "--log_dir", "log_2", trainer],
        [*shown, *named],
        [*shown, "--log_dir", "log_3", trainer],
        [*shown, *named],
    ]
    assert not Path("mine").exists() and not Path("log_3").exists()


def test_logs_that_cannot_be_written_are_told(monkeypatch, capsys):
    monkeypatch.setattr(launch, "_start", lambda *_: pytest.fail("nothing is to be started"))
    assert launch.main(["--log_dir", f"{TRAINER}/logs", TRAINER]) == 2
    assert re.match("error: cannot write .*/logs/workerlog.0: .* is accepted", capsys.readouterr().err)


def test_help_says_how(capsys):
    assert launch.main(["--help"]) == 0
    assert "--nproc_per_node 2" in capsys.readouterr().out


def ends_with(code):
    def launch():
        raise SystemExit(code)

    return launch


def stopped_by(number):
    def launch():
        signal_handler()

    def signal_handler():  # as Paddle's is called
        raise SystemExit(number)

    return launch


def hung_up():
    """As where the terminal of Paddle's launcher is closed, which has a handler of SIGTERM alone."""

    def signal_handler(number, frame):
        raise SystemExit(number)

    signal.signal(signal.SIGTERM, signal_handler)
    signal.getsignal(signal.SIGHUP)(signal.SIGHUP, None)  # what a signal does, without one to this process


@pytest.fixture
def terminal():
    """A process that the end of its terminal would end, and whose signals are as they were after the test."""
    earlier = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler or signal.SIG_DFL)


@pytest.mark.parametrize(
    ("launch_by_paddle", "code", "said"),
    [
        (ends_with(0), 0, ""),
        (ends_with(None), 0, ""),
        (ends_with(2), 2, ""),  # bad input of the trainer's
        (ends_with(-6), 1, ""),
        (ends_with(250), 1, ""),
        (stopped_by(2), 130, "error: stopped by SIGINT; the same command goes on\n"),
        (stopped_by(15), 143, "error: stopped by SIGTERM; the same command goes on\n"),
        (hung_up, 129, "error: stopped by SIGHUP; the same command goes on\n"),
    ],
)
def test_exit_code_says_how_it_ended(terminal, capsys, monkeypatch, launch_by_paddle, code, said):
    main = importlib.import_module("paddle.distributed.launch.main")
    monkeypatch.setattr(main, "launch", launch_by_paddle)
    monkeypatch.setattr("sys.argv", [])
    assert launch.main([TRAINER]) == code
    assert capsys.readouterr().err.lstrip("\n") == said


class Process:
    """What Paddle's launcher knows of a process that has ended."""

    def __init__(self, folder, rank, exit_code, lines, earlier=""):
        self.outfile, self.exit_code = folder / f"workerlog.{rank}", exit_code
        self.status = "failed" if exit_code else "completed"
        self.outfile.write_text(earlier + lines)
        self._log_start_offset, self._read = len(earlier), len(earlier)

    def logs(self):  # as Paddle's: prints what has come since, and says whether that was all
        rest = self.outfile.read_text()[self._read :]
        self._read += len(rest)
        print(rest, end="")
        return bool(rest)


REFUSED = "error: training data nowhere.json do not exist; others are accepted\n"


@pytest.mark.parametrize(
    ("first", "second", "code", "said"),
    [
        ((2, REFUSED), (2, REFUSED), 2, [REFUSED]),
        ((2, REFUSED), (-15, ""), 2, [REFUSED]),
        ((-15, ""), (2, REFUSED), 2, [REFUSED]),
        ((-15, "a step\n"), (2, REFUSED), 2, ["a step\n", REFUSED]),
        ((1, "Traceback\n"), (2, REFUSED), 2, [REFUSED, "Traceback\n"]),
        ((1, "error: disk full\n"), (-15, ""), 1, ["error: disk full\n"]),
        ((0, "done\n"), (-9, "a step\n"), -9, ["done\n", "a step\n"]),
        ((0, "done\n"), (0, "done\n"), 0, ["done\n"]),
    ],
)
@pytest.mark.parametrize("earlier", ["", REFUSED])
def test_what_processes_say_is_told_once(capsys, tmp_path, first, second, code, said, earlier):
    processes = [Process(tmp_path, rank, *each, earlier) for rank, each in enumerate((first, second))]
    pod = SimpleNamespace(_containers=processes)
    while processes[0].logs():
        pass
    failed = launch._failed(pod)
    if failed:
        launch._print_rest(failed[0])
    assert launch._exit_code(pod) == code
    assert sorted(capsys.readouterr().out.splitlines(keepends=True)) == sorted(said)


@pytest.mark.parametrize(("code", "is_shown"), [(2, False), (1, True), (-9, True), (-2, True)])
def test_launchers_own_line_is_left_out_where_a_process_has_said_why(code, is_shown):
    text = f"Container failed !!!\nContainer rank 0 status failed cmd ['a', '--b'] code {code} log logs/workerlog.0"
    assert launch._is_of_use(logging.LogRecord("LAUNCH", logging.ERROR, "", 0, text, (), None)) == is_shown
