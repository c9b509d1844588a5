"""Processes with other options, files, clips or folders than the first are told in all of them, before training."""

import functools

import pytest

from ppdiffusers_ext.training import alike
from ppdiffusers_ext.training.alike import check_alike
from ppdiffusers_ext.training.animate_anyone.options import DataArguments, ModelArguments
from ppdiffusers_ext.training.options import TrainerOptions
from tests.support.ranks import run_ranks


@pytest.fixture
def check(monkeypatch, tmp_path):
    """Call it with the changes of each process: what `check_alike` does in them, in words."""
    monkeypatch.setattr(alike, "_PATIENCE", 0.0)
    (tmp_path / "clips.json").write_text("[1]")

    def run(*changes):
        return [
            error and str(error)
            for error in run_ranks(monkeypatch, [functools.partial(one, each) for each in changes])
        ]

    def one(change):
        found = change.get("found", ["a.mp4", "b.mp4"])
        data = DataArguments(meta_paths=change.get("meta_paths", str(tmp_path / "clips.json")))
        model = ModelArguments(vae_model_path=change.get("vae_model_path", str(tmp_path / "vae")))
        options = TrainerOptions(
            output_dir=change.get("output_dir", str(tmp_path / "out")),
            learning_rate=change.get("learning_rate", 0.1),
            dataloader_num_workers=change.get("dataloader_num_workers", 0),
        )
        return check_alike((model, data, options), found)

    return run


def test_equal_processes_pass_and_leave_nothing_in_the_folder(check, tmp_path):
    assert check({}, {}, {"dataloader_num_workers": 2}) == [None, None, None]
    assert list((tmp_path / "out").iterdir()) == []


def test_what_the_run_itself_writes_into_a_folder_of_weights_is_not_compared(tmp_path):
    folder, output = tmp_path / "weights", tmp_path / "weights" / "out"
    output.mkdir(parents=True)
    (folder / "unet.pdparams").write_bytes(b"1")
    before = alike._digest_of_folder(folder, output)
    (folder / "log").mkdir()
    for name in ("log/workerlog.1", "log/backup_env.1.json", "log/envlog.1", "log/default.abc.log", "out/.machines-1"):
        (folder / name).write_bytes(b"1")
    assert alike._digest_of_folder(folder, output) == before
    (folder / "vae.pdparams").write_bytes(b"1")
    assert alike._digest_of_folder(folder, output) != before


def test_other_option_of_any_process_is_told_in_all(check):
    said = check({}, {}, {"learning_rate": 0.2})
    assert len(set(said)) == 1
    assert said[0].startswith("--learning_rate is not the same in all processes: 0.1 in process 0 on ")
    assert ", 0.2 in process 2 on " in said[0] and said[0].endswith("; the same on each machine is accepted")


def test_other_clips_are_told(check):
    assert check({}, {"found": ["a.mp4"]})[0].startswith("the list of clips is not the same in all processes: ")


@pytest.mark.parametrize(("name", "of_one"), [("clips.json", "[2]"), ("vae", None)])
def test_other_contents_under_the_same_name_are_told(check, tmp_path, monkeypatch, name, of_one):
    """As two machines have them, of which each has a disk of its own: `located` says where."""
    for machine, text in (("one", "[1]"), ("two", "[2]")):
        (tmp_path / machine / "vae").mkdir(parents=True)
        (tmp_path / machine / "clips.json").write_text(text if name == "clips.json" else "[1]")
        (tmp_path / machine / "vae" / "weights").write_text(
            "w" if machine == "one" or name != "vae" else "of another size"
        )

    def located(path):
        machine = ("one", "two")[alike.distributed.get_rank()]
        return path.replace(str(tmp_path), str(tmp_path / machine))

    monkeypatch.setattr(alike, "located", located)
    option = {"clips.json": "meta_paths", "vae": "vae_model_path"}[name]
    said = check({}, {})
    assert len(set(said)) == 1
    assert said[0].startswith(f"what --{option} names, {tmp_path / name}, is not the same in all processes: ")


def test_folder_that_is_not_shared_is_told(check, tmp_path):
    said = check({}, {"output_dir": str(tmp_path / "other")})
    assert len(set(said)) == 1
    assert f"--output_dir {tmp_path / 'other'} of process 1 on " in said[0]
    assert said[0].endswith(" is not that of process 0; a folder that all machines share is accepted")


@pytest.mark.parametrize("at", [100, 3 << 20, (6 << 20) - 1])
def test_files_of_the_same_size_are_told_by_their_ends(tmp_path, at):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(bytes(6 << 20))
    with open(paths[1], "rb+") as file:
        file.seek(at)
        file.write(b"x")
    digests = {alike._digest_of_file(path) for path in paths}
    assert len(digests) == (1 if at == 3 << 20 else 2)


def test_a_single_process_is_not_compared(tmp_path):
    check_alike([], None)
