"""Every option of every command: --help, and values that cannot be used, are answered without a traceback."""

import dataclasses
import os
import re
import runpy

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import declaration
from scripts.options import _Store
from tests.support.parsers import FOLDER, command_names, config_of, parser_of

NAMES = command_names()
PREDICTIONS = ("predict_i2v", "predict_t2v", "predict_v2v")
DEMO = "configs/inference/demo.yaml"
PREDICT = ["--prompt", "x", "--output", "x.mp4"]
# Words for all that a command cannot do without, beside the arguments that its parser demands.
MORE = {
    "animate": ["--reference-image", "a", "--driving-video", "b", "--output", "x.mp4", "--config", DEMO],
    "plan_memory": ["--config", DEMO],
    "predict_t2v": PREDICT,
    "predict_i2v": [*PREDICT, "--start-image", "a"],
    "predict_v2v": [*PREDICT, "--video", "a"],
}

NO_NUMBERS = ("", "x", "1e23x", "nan", "inf", "-inf", "0x", "9" * 5000, "1,5", "\udcff", "\x1b[2J", "--", "[1]", "²")
NO_WHOLE_NUMBERS = (*NO_NUMBERS, "1e23", "1.5", "1e-9", "--1")


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)


def choices_of(name, action):
    """The values of an option, where only some are accepted."""
    fields = {item.name: item for item in dataclasses.fields(parser_of(name).options)}
    return declaration(fields[action.dest]).choices if action.dest in fields else ()


def needed(name):
    """Words that a command accepts."""
    words = []
    for action in parser_of(name)._actions:
        if action.option_strings and action.required:
            value = DEMO if action.dest == "config" else next(iter(choices_of(name, action) or ["1"]))
            words += [action.option_strings[-1], value]
        elif not action.option_strings and action.nargs != "?":
            words.append("x")
    return words + MORE.get(name, [])


def options_of(parser, kinds):
    """Pairs of an option's longest name and how many values it takes, of options of these types."""
    return [(action.option_strings[-1], action.nargs or 1) for action in parser._actions
            if action.option_strings and isinstance(action, _Store)
            and kinds(action)]  # fmt: skip


def is_number(action):
    return isinstance(action, _Store) and action.metavar in ("N", "X", ("FROM", "TO"))


def is_whole(action):
    return isinstance(action, _Store) and action.metavar == "N"


def answer(name, words, capsys):
    """What a command says to words that it must refuse: one line."""
    parser = parser_of(name)
    try:
        config_of(name, parser.parse_args(words))
    except SystemExit as stop:
        assert stop.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
    except InputError as error:
        line = str(error)
    else:
        return None
    assert line.isprintable() and len(line) < 1000
    return line


@pytest.mark.parametrize("name", NAMES)
def test_help_is_shown(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parser_of(name).parse_args(["--help"])
    assert stop.value.code == 0
    assert "--debug" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_words_that_suffice_are_accepted(name):
    assert answer(name, needed(name), None) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "word", ["--nonsense", "--nonsense=\udcff", "--hel", "--debug=1", "-\x1b[2J", "--" + "a" * 5000]
)
def test_options_that_there_are_not_are_refused(name, word, capsys):
    assert answer(name, [*needed(name), word], capsys)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_are_none_are_refused(name, capsys):
    parser = parser_of(name)
    words = needed(name)
    whole = {action.option_strings[-1] for action in parser._actions if action.option_strings and is_whole(action)}
    for option, count in options_of(parser, is_number):
        for value in NO_WHOLE_NUMBERS if option in whole else NO_NUMBERS:
            values = [f"{option}={value}"] if count == 1 else [option, *[value] * count]
            if count == 1 or not value.startswith("-"):
                assert answer(name, [*words, *values], capsys), (option, value)


# What each command's numbers may not be, beside that they are numbers.
OUT_OF_BOUNDS = {
    "--seed": ("-2", str(2**63), "9" * 30),
    "--steps": ("0", "-1", "1001", "2000"),
    "--num-inference-steps": ("0", "1001"),
    "--num-frames": ("0", "-1", "999999999"),
    "--width": ("0", "-64", "63000", "1"),
    "--height": ("0", "-64", "63000", "1"),
    "--length": ("0", "-1"),
    "--frames": ("0", "-1", "999999999"),
    "--fps": ("0", "-1", "1e-9", "1e9", "0.01"),
    "--cfg": ("-1", "1e23", "101"),
    "--guidance-scale": ("-1", "1e23"),
    "--guidance-rescale": ("-0.1", "1.1"),
    "--clip-apply-ratio": ("-0.1", "1.1"),
    "--block-cache-threshold": ("-1",),
    "--context-frames": ("0", "-1"),
    "--context-overlap": ("-1", "24", "1000000000"),
    "--context-stride": ("0", "1000000"),
    "--context-batch-size": ("0", "1000000"),
    "--decode-chunk-size": ("0", "1000000"),
    "--vae-tile-size": ("-1", "1", "63", "1000000"),
    "--step-cache-interval": ("0", "-1", "1000000"),
    "--step-cache-depth": ("0", "1000000"),
    "--tile-size": ("0", "-1"),
    "--frames-overlap": ("-1", "1000000000"),
    "--noise-aug-strength": ("-1", "1e9"),
    "--overlap": ("0",),
    "--segment": ("0", "4", "-1"),
    "--base": ("0", "511", "1281"),
    "--gap": ("-1", "1000000000"),
    "--smoothing": ("-1", "1e9"),
    "--jobs": ("0", "33"),
    "-j": ("0", "100000"),
    "--min-frames": ("1", "-1"),
    "--clips": ("0", "-1", "1000000000"),
    "--processes": ("0", "-1", "1000000000"),
    "--start": ("-1", "1000000"),
    "--end": ("-1", "1000000000000"),
    "--crf": ("-1", "52"),
}
# The original's, which have no effect; and numbers that the command itself looks at after it has read a file.
UNCHECKED = {("stable_animator", "--overlap"), ("train_demo", "--clips"), ("train_demo_stable_animator", "--clips")}
UNCHECKED |= {("train_demo_easy_animate", "--clips")}
UNCHECKED |= {("prepare_videos", "-j"), ("batch", "-j")}  # 0 is no process but its own


@pytest.mark.parametrize("name", NAMES)
def test_numbers_out_of_bounds_are_refused(name, capsys):
    words = needed(name)
    for option, _ in options_of(parser_of(name), is_number):
        for value in OUT_OF_BOUNDS.get(option, ()) if (name, option) not in UNCHECKED else ():
            line = answer(name, [*words, f"{option}={value}"], capsys)
            assert line and option.strip("-").replace("-", "_") in line.replace("-", "_"), (option, value)


NO_PATHS = ("", "a\ud800", "a" * 5000, "a/" * 3000)


@pytest.mark.parametrize("name", ["pose2vid", *PREDICTIONS])
def test_names_that_no_file_can_have_are_refused(name, capsys):
    parser = parser_of(name)
    paths = [option for option, _ in options_of(parser, lambda action: "FILE" in (action.metavar or ""))]
    assert "--config" in paths
    words = [*needed(name), *(["--reference-image", "a", "--pose-video", "b"] if name == "pose2vid" else [])]
    for option in paths:
        for value in NO_PATHS:
            assert answer(name, [*words, f"{option}={value}"], capsys), (option, value[:9])


@pytest.mark.parametrize("name", ["animate", "evaluate", "plan_memory", "pose2vid", *PREDICTIONS])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop", "damaged", "list", "missing"])
def test_config_that_is_no_yaml_file_is_refused(name, kind, tmp_path, capsys):
    path = tmp_path / "x"
    made = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to("x"),
        "damaged": lambda: path.write_bytes(b"a: \xff"),
        "list": lambda: path.write_text("- a"),
        "missing": lambda: None,
    }
    made[kind]()
    words = [*needed(name), "--config", str(path), "--output", "x.mp4"]
    if name == "evaluate":
        from scripts.evaluate import work

        with pytest.raises(InputError, match="configuration .*/x "):
            work(parser_of(name).parse_args(["--demo", "--config", str(path)]))
        return
    assert f"configuration {path}" in answer(name, words, capsys)


@pytest.mark.parametrize("name", NAMES)
def test_mistyped_option_is_answered_with_the_nearest(name, capsys):
    for action in parser_of(name)._actions:
        for option in action.option_strings:
            if len(option) > 5:  # of others, a letter is too much
                mistyped = option[:-1] + ("q" if option[-1] != "q" else "z")
                for words in ([mistyped], [mistyped, "1"], [f"{mistyped}=1"]):
                    line = answer(name, words, capsys)  # which misses options that are needed, too
                    assert f"there is no option '{mistyped}'; did you mean --" in line, (mistyped, line)


@pytest.mark.parametrize("name", NAMES)
def test_underscores_in_options_are_hyphens_and_stay_in_values(name):
    parser = parser_of(name)
    for action in parser._actions:
        for option in action.option_strings if action.nargs != 0 else ():
            count = {None: 1, "?": 0}.get(action.nargs, action.nargs)  # a switch takes no word after it
            values = [str(next(iter(choices_of(name, action) or ["2"])))] * (count if isinstance(count, int) else 1)
            other = f"--{option.strip('-').replace('-', '_')}" if option.startswith("--") else option
            read = [vars(parser.parse_words([*needed(name), word, *values])) for word in (option, other)]
            assert read[0] == read[1], option
            if action.nargs is None and not is_number(action) and not choices_of(name, action):
                assert "a_b" in str(vars(parser.parse_words([*needed(name), f"{option}=--a_b"]))[action.dest])


@pytest.mark.parametrize("name", NAMES)
def test_option_that_is_like_none_is_told_without_a_suggestion(name, capsys):
    assert "did you mean" not in answer(name, [*needed(name), "--wxyz"], capsys)
    assert "did you mean" not in answer(name, [*needed(name), "-z"], capsys)


@pytest.mark.parametrize("module", ["easy_animate", "poses", "training"])
def test_module_that_is_no_command_names_those_there_are(module, capsys, monkeypatch):
    for words, code in ((["--help"], 0), ([], 2), (["--prompt", "x"], 2)):
        monkeypatch.setattr("sys.argv", [module, *words])
        with pytest.raises(SystemExit) as stop:
            runpy.run_module(f"scripts.{module}", run_name="__main__", alter_sys=False)
        told = capsys.readouterr()
        assert stop.value.code == code
        named = re.findall(r"python -m scripts\.(\w+)", told.out if code == 0 else told.err)
        assert named and all((FOLDER / f"{name}.py").is_file() for name in named)
