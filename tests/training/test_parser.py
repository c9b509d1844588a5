"""The trainers' options: whatever they are given is used, or refused in a line before anything is computed."""

import json

import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import declaration
from ppdiffusers_ext.training.arguments import parse_arguments
from ppdiffusers_ext.training.bounds import fields_of
from ppdiffusers_ext.training.parser import read_options
from ppdiffusers_ext.training.trainers import TRAINERS
from scripts.training import kinds_of, main

STABLE, STAGE = kinds_of("stable_animator"), kinds_of("stage1")
DECLARED = {name: declaration(item) for trainer in TRAINERS for name, item in fields_of(kinds_of(trainer)).items()}
BOUNDS = {name: (each.lower, each.upper) for name, each in DECLARED.items() if each.lower is not None}
LONG = "9" * 5000


def parse(words, folder, kinds=STAGE):
    return parse_arguments([*words, "--output_dir", str(folder / "out"), "--device", "cpu"], kinds)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    "words",
    [
        ["--max_steps", "ten"],
        ["--max_steps", "1.5"],
        ["--max_steps", LONG],
        ["--max_steps", "0"],
        ["--max_steps"],
        ["--learning_rate", "nan"],
        ["--learning_rate", "-inf"],
        ["--learning_rate", "-1"],
        ["--adam_beta1", "1"],
        ["--seed", "-2"],
        ["--seed", "4294967296"],
        ["--seed", str(2**70)],
        ["--fp16", "maybe"],
        ["--lr_scheduler_type", "\x1b[31m" * 2000],
        ["--save_strategy", "sometimes"],
        ["--report_to", "nobody"],
        ["--report_to", "wandb"],
        ["--optim", "sgd9"],
        ["--sharding", "stage9"],
        ["--device", "tpu"],
        ["--device", "gpu:99"],
        ["--fp16_opt_level", "O9"],
        ["--dataloader_num_workers", "-1"],
        ["--output_dir", "a" * 5000],
        ["--output_dir", "a/" * 5000],
        ["--output_dir", "\udcff\ud800"],
        ["--output_dir", "/dev/null/out"],
        ["--tensor_parallel_degree", "2"],
        ["--unified_checkpoint"],
        ["--do_eval"],
        ["--amp_custom_black_list"],
        ["--max_step", "5"],  # no abbreviation
        ["--nonsense=3"],
        ["stray"],
        ["\ud800"],
        ["--", "--max_steps", "5"],
        ["--max_steps=--"],
        ["--fp16=--"],
        ["--report_to=--"],
        ["nowhere.yaml"],
        ["nowhere.json"],
    ],
    ids=lambda words: " ".join(words).encode("ascii", "replace").decode()[:40].replace("\x1b", "?"),
)
def test_garbage_on_the_command_line_is_refused_in_a_line(tmp_path, capsys, monkeypatch, trainer, words):
    monkeypatch.chdir(tmp_path)
    assert main(trainer, ["--do_train", *words] if not words[0].startswith("nowhere") else words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.isprintable() and len(line) < 1000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize(
    "values",
    [
        {"max_steps": "ten"},
        {"max_steps": [1, 2]},
        {"max_steps": {"a": 1}},
        {"max_steps": True},
        {"max_steps": 1.5},
        {"max_steps": 10**400},
        {"learning_rate": "fast"},
        {"learning_rate": [1e-3]},
        {"fp16": "perhaps"},
        {"fp16": 3},
        {"output_dir": ["a", "b"]},
        {"output_dir": "a\0b"},
        {"report_to": []},
        {"report_to": ["--max_steps"]},
        {"report_to": [["visualdl"]]},
        {"meta_paths": {"a": "b"}},
        {"max_step": 5},
        {"": 5},
        {"debug": True},
        [],
        "text",
        7,
        None,
    ],
    ids=lambda values: str(values)[:40].replace("\0", "?"),
)
def test_garbage_in_a_file_is_refused(tmp_path, suffix, values):
    file = tmp_path / f"training{suffix}"
    file.write_text(json.dumps(values) if suffix == ".json" else yaml.safe_dump(values))
    with pytest.raises(InputError) as caught:
        parse([str(file)], tmp_path)
    assert len(str(caught.value)) < 1000


def kinds_with(name):
    """The kinds of the trainer whose declaration of an option `DECLARED` has: the last."""
    return next(kinds for kinds in map(kinds_of, reversed(TRAINERS)) if name in fields_of(kinds))


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_numbers_beyond_their_bounds_are_refused(tmp_path, name):
    least, most = BOUNDS[name]
    kinds = kinds_with(name)
    whole = isinstance(least, int) and isinstance(most, int) and isinstance(read_options([], kinds)[name], int)
    for value in (least - 1, most + 1 if whole else 2 * most + 1):
        if abs(value) < 2**63 or not whole:
            with pytest.raises(InputError, match=f"--{name} .*accepted"):
                parse([f"--{name}={value}"], tmp_path, kinds)


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_file_is_read_and_options_after_it_take_the_place_of_its_values(tmp_path, suffix):
    values = {"max_steps": 7, "learning_rate": 1e-3, "fp16": True, "report_to": ["none"], "pose_guider_path": None}
    file = tmp_path / f"training{suffix}"
    file.write_text(json.dumps(values) if suffix == ".json" else yaml.safe_dump(values))
    model, data, training = parse([str(file), "--max_steps", "9", "--bf16=True", "--fp16=False"], tmp_path)
    assert (training.max_steps, training.learning_rate, training.report_to) == (9, 1e-3, [])
    assert (training.fp16, training.bf16) == (False, True)
    assert model.pose_guider_path is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max_train_steps=3", "--max_steps", "4"], 4),
        (["--max_steps=3", "--max_train_steps", "4"], 4),
    ],
)
def test_the_later_one_of_two_names_of_an_option_counts(tmp_path, words, expected):
    _, _, training = parse(["--data_path", "a.txt", *words], tmp_path, STABLE)
    assert training.max_steps == expected


def test_mixed_precision_on_the_command_line_goes_before_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("fp16: true\ndata_path: a.txt\n")
    _, _, training = parse([str(tmp_path / "a.yaml"), "--mixed_precision", "no"], tmp_path, STABLE)
    assert not training.fp16 and not training.bf16


def test_paddlenlps_word_for_gradient_checkpointing_is_understood(tmp_path):
    model, _, _ = parse(["--recompute", "True"], tmp_path)
    assert model.gradient_checkpointing


def test_file_beside_the_script_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "trainer.args").write_text("--max_steps 3")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "trainer.py")])
    _, _, training = parse([], tmp_path, kinds_of("vae"))
    assert training.max_steps == 30000


@pytest.mark.parametrize("trainer", TRAINERS)
def test_help_is_short_and_help_all_has_everything(capsys, trainer):
    assert main(trainer, ["--help"], "usage") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 100
    options = {line.split()[0] for line in lines if line.startswith("  --")} - {"--debug", "--help-all"}
    assert 25 <= len(options) <= 40
    assert options <= {f"--{name}" for name in read_options([], kinds_of(trainer))}
    assert main(trainer, ["--help-all"], "usage") == 0
    printed = capsys.readouterr().out
    assert all(f"--{name}" in printed for name in read_options([], kinds_of(trainer)))


CHOSEN = {
    **{name: each.choices for name, each in DECLARED.items() if each.choices and name != "optim"},
    "optim": ("adamw", "adamw_mini"),
    "sharding": ("stage1", "stage2", "stage3", "offload"),
    "logging_strategy": ("no", "steps", "epoch"),
}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("value", ["foo", "", "Linear", "stage1 foo", "1"])
def test_choice_that_is_not_known_is_answered_with_those_there_are(tmp_path, trainer, name, value):
    if name not in read_options([], kinds_of(trainer)) or (name, value) == ("sharding", ""):
        return
    with pytest.raises(InputError, match=f"--{name}.* is not known; .*accepted") as caught:
        parse([f"--{name}={value}"], tmp_path, kinds_of(trainer))
    assert all(choice in str(caught.value) for choice in CHOSEN[name])
    assert "together" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(name for name in BOUNDS if isinstance(BOUNDS[name][0], int)))
@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, int("9" * 4000)])
def test_range_that_is_told_is_that_of_the_option(tmp_path, name, value):
    kinds = kinds_with(name)
    if not isinstance(read_options([], kinds)[name], int):
        return
    least, most = BOUNDS[name]
    with pytest.raises(InputError, match=f"--{name}.*; {least} to {most} is accepted"):
        parse([f"--{name}={value}"], tmp_path, kinds)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_option_is_suggested_where_it_is_mistyped(tmp_path, trainer):
    for name in read_options([], kinds_of(trainer)):
        mistyped = f"{name[:-1]}{'q' if name[-1] != 'q' else 'z'}"
        with pytest.raises(InputError, match=f"there is no option '--{mistyped}'; did you mean --") as caught:
            parse([f"--{mistyped}", "1"], tmp_path, kinds_of(trainer))
        if len(name) > 8:
            near = str(caught.value).partition("mean --")[2].partition("?")[0]
            assert len(set(near) ^ set(name)) <= 2


def test_option_that_is_like_none_is_told_without_a_suggestion(tmp_path):
    with pytest.raises(InputError, match="there is no option '--wxyz'; --help-all"):
        parse(["--wxyz", "1"], tmp_path)
    with pytest.raises(InputError, match="'stray' is neither an option nor the value of one"):
        parse(["stray"], tmp_path)


def test_key_of_a_file_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "a.yaml").write_text("max_stepz: 4\nwxyz: 1\n")
    with pytest.raises(InputError, match=r"unknown keys in .*: max_stepz \(did you mean max_steps\?\), wxyz;"):
        parse([str(tmp_path / "a.yaml")], tmp_path)


def test_help_all_explains_the_schedules_mismatch(capsys):
    main("stage2", ["--help-all"])
    assert "which is a mismatch" in " ".join(capsys.readouterr().out.split())
