"""Evaluation by a protocol: files, what is kept, and what is refused before anything is computed."""

import json
import os
import sys

import pytest

from ppdiffusers_ext.data.existing import ExistsError
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics import tasks
from ppdiffusers_ext.metrics.protocol import FOLDER
from ppdiffusers_ext.pipelines.evaluating import check_way
from ppdiffusers_ext.pipelines.evaluating_by_protocol import evaluate_by_protocol
from ppdiffusers_ext.pipelines.evaluating_options import EvaluationOptions
from tests.support.evaluated import moving, noisy, write_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        frames = moving(number, 3)
        write_frames(folder / "gt" / str(number), frames)
        write_frames(folder / "pred" / str(number), noisy(frames, 20))
    return folder


def evaluated(folder, tmp_path, **more):
    paths = {"prediction": str(folder / "pred"), "truth": str(folder / "gt")}
    files = {name: str(tmp_path / f"scores.{name}") for name in ("json", "csv", "html")}
    options = {"protocol": "disco", "metrics": "embedded", "weights": str(tmp_path / "weights"), **paths, **files}
    evaluate_by_protocol(EvaluationOptions(**{**options, **more}))


def test_all_files_are_written_and_recorded(folder, tmp_path, capsys):
    evaluated(folder, tmp_path)
    told = capsys.readouterr().out
    assert told.startswith("protocol disco: ") and told.count("wrote ") == 3
    contents = {path.name: path.read_bytes() for path in tmp_path.glob("scores.*")}
    assert sorted(contents) == ["scores.csv", "scores.html", "scores.json"]
    (tmp_path / "scores.csv").unlink()
    evaluated(folder, tmp_path, skip_existing=True)  # the others stay, the table is made again
    told = capsys.readouterr().out
    assert told.count("kept ") == 2 and told.count("wrote ") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.glob("scores.*")} == contents
    with pytest.raises(ExistsError):
        evaluated(folder, tmp_path)
    with pytest.raises(ExistsError, match="was made of something else"):
        evaluated(folder, tmp_path, metrics="disco_ssim", skip_existing=True)


def test_stopped_run_goes_on_to_the_same_bits(folder, tmp_path, monkeypatch):
    evaluated(folder, tmp_path)
    whole = (tmp_path / "scores.json").read_bytes()
    done, run_task = [], tasks.run_task

    def stopped(task, *rest):
        if done:
            raise KeyboardInterrupt
        done.append(task)
        run_task(task, *rest)

    again = tmp_path / "again"
    again.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "run_task", stopped)
        with pytest.raises(KeyboardInterrupt):
            evaluated(folder, again, state=str(tmp_path / "state"))
    assert list(again.iterdir()) == [] and len(list((tmp_path / "state").iterdir())) == 1
    computed = []
    monkeypatch.setattr(tasks, "run_task", lambda task, *rest: computed.append(task.name) or run_task(task, *rest))
    evaluated(folder, again, state=str(tmp_path / "state"))
    assert computed == ["1"] and (again / "scores.json").read_bytes() == whole


def test_json_alone_is_printed(folder, tmp_path, capsys):
    evaluated(folder, tmp_path, json="-", csv=None, html=None, per_frame=True)
    values = json.loads(capsys.readouterr().out)
    assert len(values["clips"][0]["frames"]["disco_ssim"]) == 3 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "more, message",
    [
        ({"metrics": "all"}, "weights are missing .*fid needs .*download_weights.py --only .*--metrics embedded"),
        ({"metrics": "disco_sim"}, "did you mean 'disco_ssim'"),
        ({"protocol": "disko"}, "did you mean 'disco'"),
        ({"prediction": "FOLDER/nothing"}, "nothing does not exist"),
        ({"prediction": "FOLDER"}, "holds neither pictures nor videos"),
        ({"paired": False}, "--no-paired leaves none of --metrics embedded"),
        ({"json": "FOLDER"}, "it is a folder"),
        ({"truth": None}, "nothing to compare"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(folder, tmp_path, monkeypatch, more, message):
    monkeypatch.setattr(tasks, "run_task", lambda *of: pytest.fail("something was computed"))
    (tmp_path / "empty").mkdir()
    more = {k: v.replace("FOLDER", str(tmp_path / "empty")) if isinstance(v, str) else v for k, v in more.items()}
    with pytest.raises(InputError, match=message):
        evaluated(folder, tmp_path, **more)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"protocol": "disco", "length": 3}, "--protocol says itself which frames"),
        ({"metrics": "psnr", "resize": True}, "--protocol says itself which frames"),
        ({"csv": "a.csv"}, "--csv needs --protocol or --metrics"),
        ({"paired": True}, "--paired needs --protocol or --metrics"),
        ({"workers": 2}, "--workers needs --protocol or --metrics"),
        ({"weights": "w"}, "--weights needs --protocol or --metrics"),
    ],
)
def test_options_of_another_way_are_refused(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        check_way(EvaluationOptions(prediction="a", truth="b", **options))


@pytest.mark.parametrize("name", ["csv", "html"])
def test_only_json_goes_to_standard_output(folder, tmp_path, name):
    with pytest.raises(InputError, match=f"--{name} is -; the name of a file is accepted"):
        evaluated(folder, tmp_path, **{name: "-"})


def test_protocol_of_the_users_own_is_not_written_over(folder, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text((FOLDER / "ours.yaml").read_text())
    with pytest.raises(InputError, match="own.yaml"):
        evaluated(folder, tmp_path, protocol=str(path), metrics="psnr", csv=str(path), overwrite=True)
    assert path.read_text() == (FOLDER / "ours.yaml").read_text()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are UTF-8")
def test_name_that_is_no_text_is_told_as_what_it_is(tmp_path):
    name = os.fsdecode(b"bad\xff\x1b[31m")
    frames = moving(0, 3)
    for side in ("pred", "gt"):
        write_frames(tmp_path / side / name, frames)
    evaluated(tmp_path, tmp_path)
    for ending in ("json", "csv", "html"):
        text = (tmp_path / f"scores.{ending}").read_text()
        assert "\x1b" not in text and "bad" in text
