"""What all commands do with options, errors and closed pipes."""

import contextlib
import errno
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.options import SEEDS, ExistingOptions, option, path_option
from scripts.command import ArgumentParser, run
from scripts.options import CommandOptions

ROOT = Path(__file__).parents[2]
WORK = """
import sys
from scripts.command import ArgumentParser, run

def work(options):
    {work}

sys.exit(run(ArgumentParser(prog="x", description="words " * 100), work))
"""


def run_words(work, *words):
    """Exit code of a command that has no options, for what its work does."""
    return run(ArgumentParser(prog="x"), work, list(words))


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    number: int = option(1, 0, 10, help="a number", flags=("-n",))
    share: float = option(1.0, 0, 1, help="a share", flags=("-x",))
    seed: int = option(0, *SEEDS, help="a seed")
    name: str | None = option(None, help="a name")
    output: str | None = path_option(None, help="to write")
    fast: bool = option(False, help="a switch")
    urls: str | None = option(None, choices=("aria2", "wget"), help="a choice", bare="aria2", excludes=("fast",))
    more: list = option(list, help="to read", is_positional=True, metavar="DIR")


def make_parser():
    return ArgumentParser("x", options=Options)


def raises(error):
    def work(_):
        raise error

    return work


def test_exit_codes(capsys):
    assert run_words(lambda _: None) == 0
    assert run_words(lambda _: 1) == 1
    assert run_words(raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\nerror: stopped by Ctrl-C; no result is left half written\n"


SYSTEM_ERRORS = {
    "permission": PermissionError(errno.EACCES, "Permission denied", "a/b"),
    "long name": OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000),
    "loop": OSError(errno.ELOOP, "Too many levels of symbolic links", "a"),
    "input and output": OSError(errno.EIO, "Input/output error", "a"),
    "two names": OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
    "folder": IsADirectoryError(errno.EISDIR, "Is a directory", "a\nb\x1b[2J"),
    "no name": OSError(errno.EMFILE, "Too many open files"),
    "no words": OSError(),
    "words alone": OSError("it is broken"),
    "bytes": FileNotFoundError(errno.ENOENT, "No such file", b"\xff"),
    "connection": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "pipe to somewhere else": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "input": InputError("x is 1\x1b[2J; 2 is accepted"),
    "long input": InputError("x" * 10**6),
}


@pytest.mark.parametrize("error", SYSTEM_ERRORS.values(), ids=SYSTEM_ERRORS)
def test_errors_of_the_system_are_told_in_a_line(capsys, error):
    assert run_words(raises(error)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.isprintable() and len(line) < 4100
    assert run_words(raises(error), "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_mistakes_of_the_program_show_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_words(lambda _: 1 / 0)


def test_memory_that_is_out_names_options_that_the_command_has(capsys):
    parser = ArgumentParser(prog="x")
    parser.add_argument("--width")
    parser.add_argument("--memory")
    assert run(parser, raises(MemoryError()), []) == 2
    assert capsys.readouterr().err == "error: out of memory; a smaller size, --memory low may do with less\n"
    assert run_words(raises(MemoryError())) == 2
    assert "--" not in capsys.readouterr().err


def refused(parser, words, capsys):
    with contextlib.suppress(SystemExit):
        assert run(parser, lambda _: None, words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.isprintable() and len(line) < 500
    return line


@pytest.mark.parametrize(
    "text", ["", "x", "1e23", "1.0", "nan", "inf", "9" * 5000, "-1", "11", "\udcff", "\x1b[2J", "--"]
)
def test_whole_numbers_are_held_to_their_bounds(capsys, text):
    assert "-n" in refused(make_parser(), ["x", f"-n={text}"], capsys)
    assert make_parser().parse_args(["x", "-n", "10"]).number == 10


@pytest.mark.parametrize("text", ["", "x", "1e999", "nan", "-inf", "9" * 5000, "-0.1", "1.1", "\udcff"])
def test_numbers_are_held_to_their_bounds(capsys, text):
    assert "-x" in refused(make_parser(), ["x", f"-x={text}"], capsys)
    assert make_parser().parse_args(["x", "-x", "1e-3"]).share == 0.001


@pytest.mark.parametrize("text", ["-2", str(2**63), "1e3", "0x1", "9" * 5000])
def test_seeds_are_held_to_their_range(capsys, text):
    parser = make_parser()
    assert "--seed" in refused(parser, ["x", f"--seed={text}"], capsys)
    assert [parser.parse_args(["x", f"--seed={seed}"]).seed for seed in (-1, 2**63 - 1)] == [-1, 2**63 - 1]


@pytest.mark.parametrize("word", ["a\0b", "a\ud800", "--name=\ud800", "-n\0"])
def test_words_that_no_shell_gives_are_refused(capsys, word):
    assert "is no text" in refused(make_parser(), [word], capsys)


@pytest.mark.parametrize("words", [["x", "--output="], ["x", "--output", ""], ["", "x"]])
def test_empty_names_of_files_are_refused(capsys, words):
    assert "'' is no file name" in refused(make_parser(), words, capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "--overwrite", "--skip-existing"], "--skip-existing and --overwrite are both given; one of them"),
        (["a", "--fast", "--urls"], "--urls and --fast are both given"),
        (["a", "--urls", "x"], "--urls 'x' is not known; aria2 or wget is accepted"),
        (["a", "--fast=maybe"], "--fast is 'maybe'; true or false"),
        ([], "DIR"),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, words, told):
    assert told in refused(make_parser(), words, capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--fast", "a", "b"], (True, ["a", "b"])),
        (["--fast", "true", "a", "b"], (True, ["a", "b"])),
        (["--fast", "false", "a"], (False, ["a"])),
        (["--fast", "--no-fast", "a"], (False, ["a"])),
        (["a", "--fast"], (True, ["a"])),
        (["--fast", "--", "true"], (True, ["true"])),
    ],
)
def test_switch_leaves_the_arguments_behind_it(words, expected):
    options = make_parser().parse_args(words)
    assert (options.fast, options.more) == expected and isinstance(options, Options)


def test_bare_flag_and_its_value():
    assert make_parser().parse_args(["a", "--urls"]).urls == "aria2"
    assert make_parser().parse_args(["a", "--urls", "wget"]).urls == "wget"


def test_names_that_are_no_utf8_are_printed(tmp_path):
    code = WORK.format(work='print("wrote", options.debug, chr(0xdcff), chr(0x72d7))')
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (result.returncode, result.stdout) == (0, b"wrote False \\udcff \\u72d7\n")


def started(work, *words, **options):
    return subprocess.Popen([sys.executable, "-c", WORK.format(work=work), *words], cwd=ROOT, text=True, **options)


NOTES = "import logging; [logging.getLogger('ppdiffusers_ext').info('x') for _ in range(9999)]; print(1)"


@pytest.mark.parametrize("work", ["print('x')", "for i in range(10**5): print(i)", NOTES])
def test_pipe_that_nobody_reads_ends_the_command_without_a_word(work):
    process = started(work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # as `| head -0` does; a single line stays in the buffer until the end
    told = process.stderr.read()
    assert process.wait(60) == 141
    assert all(line.startswith("note: ") for line in told.splitlines())


def test_help_into_a_pipe_that_nobody_reads_ends_without_a_word():
    process = started("pass", "--help", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) in (0, 141)  # Python's own parser passes over it


def test_errors_into_a_pipe_that_nobody_reads_end_the_command():
    reading, writing = os.pipe()
    os.close(reading)
    process = started("raise OSError('x')", stdout=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    assert process.wait(60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    ("unbuffered", "work", "arguments", "code"),
    [
        ("", "print('x')", [], 1),
        ("1", "print('x')", [], 1),
        ("", "print('x' * 100_000)", [], 1),
        ("1", "pass", ["--help"], 1),
        ("", "print('x'); raise FileNotFoundError(2, 'No such file', 'a')", [], 2),
    ],
)
def test_words_to_a_full_disk_are_told_apart_from_results(monkeypatch, unbuffered, work, arguments, code):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w") as full:
        process = started(work, *arguments, stdout=full, stderr=subprocess.PIPE)
        told = process.stderr.read().splitlines()
    assert process.wait(60) == code
    assert "error: what is printed cannot be written: No space left on device" in told[-1]
    assert len(told) == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_errors_to_a_full_disk_leave_the_exit_code():
    with open("/dev/full", "w") as full:
        assert started("raise FileNotFoundError(2, 'No such file', 'a')", stderr=full).wait(60) == 2


NASTY = [
    "a\nb",
    "a\r\n\n  b",
    "\x1b[31mred",
    "\0",
    "\u2028",
    "\x85",
    "\udcff",
    "\u202e",
    "x" * 10**6,
    "\n" * 10**5,
    "",
]


@pytest.mark.parametrize(
    "kind", [InputError, MissingFileError, OSError, lambda text: FileNotFoundError(2, text, text)]
)
@pytest.mark.parametrize("text", NASTY)
def test_error_is_one_line_whatever_is_in_it(capsys, kind, text):
    def work(options):
        raise kind(f"file {text} is no picture")

    assert run(ArgumentParser("work"), work, []) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: file ") or "cannot be used: " in told
    assert told.endswith("\n") and told[:-1].isprintable() and len(told) < 4100


@pytest.mark.parametrize("text", [text for text in NASTY if text])
def test_error_of_a_word_is_one_line_whatever_is_in_it(capsys, text):
    for words in (["--number", text], ["--urls", f"{text}?"], [f"--{text.replace(' ', '')}"]):
        with pytest.raises(SystemExit):
            make_parser().read(make_parser().parse_words(words))
        told = capsys.readouterr().err
        assert told.startswith("error: ") and told[:-1].isprintable() and len(told) < 600


def test_errors_of_all_commands_are_told_by_one_function():
    """Each other place would have to see to it that its line is one."""
    sources = [*(ROOT / "scripts").glob("*.py"), *(ROOT / "ppdiffusers_ext").rglob("*.py")]
    found = [
        path.name for path in sources for line in path.read_text().splitlines() if re.search(r'"error: *\{', line)
    ]
    assert found == ["command.py"]


def test_closed_output_is_no_error():
    process = subprocess.run(["sh", "-c", f'"{sys.executable}" -m scripts.make_demo_assets --help >&-'], cwd=ROOT)
    assert process.returncode == 0


def test_options_of_a_parsers_commands_are_known_and_suggested(capsys):
    parser = ArgumentParser(prog="measure")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("memory").add_argument("--cases", nargs="+")
    assert parser.parse_args(["memory", "--cases", "a", "b"]).cases == ["a", "b"]
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["memory", "--casez", "a"])
    assert stop.value.code == 2
    assert "there is no option '--casez'; did you mean --cases?" in capsys.readouterr().err
