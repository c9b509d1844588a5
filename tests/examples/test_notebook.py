"""The notebook runs from its first cell to its last in a Jupyter kernel, where nothing but the package is there."""

import ast
import copy
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from ppdiffusers_ext.commands import COMMANDS
from ppdiffusers_ext.data.frames import open_frames

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PATH = ROOT / "examples" / "notebooks" / "quickstart.ipynb"
NOTEBOOK = nbformat.read(PATH, as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
SMALL = {"FRAMES": 4, "STEPS": 1}


def execute(cells, folder, monkeypatch):
    """The cells, executed one after the other by a kernel of this Python that works in a folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(folder.parent / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder.parent / "runtime"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.v4.new_notebook(cells=copy.deepcopy(cells), metadata=NOTEBOOK.metadata)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=None, kernel_name="python3", resources=resources).execute().cells


def outputs_of(cells):
    return [output for cell in cells for output in cell.get("outputs", ())]


def printed(cells):
    return "".join(output.text for output in outputs_of(cells) if output.output_type == "stream")


def test_notebook_is_whole_and_has_no_outputs():
    nbformat.validate(NOTEBOOK)
    assert NOTEBOOK.metadata.kernelspec.name == "python3"
    assert all(cell.outputs == [] and cell.execution_count is None for cell in CODE)
    headings = [line for cell in NOTEBOOK.cells for line in cell.source.splitlines() if re.match("#+ ", line)]
    assert all(re.search("[\u4e00-\u9fff]", heading) for heading in headings)


def test_notebook_calls_commands_that_are_there_and_looks_whether_they_did_it():
    lines = [line.strip() for cell in CODE for line in cell.source.splitlines()]
    for place, line in enumerate(lines):
        called = re.match(r"!\{PROGRAM\} ([\w-]+)", line)
        if called and not called[1].startswith("-"):
            assert called[1].replace("-", "_") in {name for names in COMMANDS.values() for name in names}
        if line.startswith("!") and "git clone" not in line:  # without which the installation fails
            assert lines[place + 1].startswith("assert _exit_code == 0, "), line
    options = ["-c", "--build-constraint"]
    (install,) = (line for line in lines if " pip install " in line)
    assert all(f"{option} constraints.txt" in install for option in options)


def with_values(cells, **values):
    """The cells with a new cell below that of the parameters, as papermill puts it there."""
    (place,) = (count for count, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ()))
    known = {node.targets[0].id for node in ast.parse(cells[place].source).body}
    assert values.keys() == known
    more = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in values.items()))
    return [*cells[: place + 1], more, *cells[place + 1 :]]


def test_notebook_makes_videos_and_scores_in_an_empty_folder(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    cells = execute(with_values(NOTEBOOK.cells, **SMALL), folder, monkeypatch)
    for name in ("sample", "mine"):
        assert open_frames(folder / "output" / f"{name}.mp4").num_frames == SMALL["FRAMES"]
    shown = [kind for output in outputs_of(cells) for kind in output.get("data", ())]
    assert shown.count("image/png") == 2 and shown.count("text/html") == 2  # pictures and players
    players = [output.data["text/html"] for output in outputs_of(cells) if "text/html" in output.get("data", ())]
    assert all("data:video/mp4;base64," in player for player in players)
    assert "ppdiffusers-ext " in printed(cells) and "error:" not in printed(cells)
    scores = ast.literal_eval(cells[-1].outputs[-1].data["text/plain"])
    assert scores["sharpness"] > 0 and scores["delta_e"] > 0


@pytest.mark.parametrize("values", [{"FRAMES": 0, "STEPS": 1}])
def test_notebook_stops_at_a_command_that_fails(values, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(CellExecutionError, match="nothing was made"):
        execute(with_values(NOTEBOOK.cells, **values), folder, monkeypatch)
    assert not (folder / "output").exists()


@pytest.mark.parametrize(
    ("repository", "told"),
    [("", "REPOSITORY is empty"), ("nowhere", "the installation failed")],
    ids=["none", "wrong"],
)
def test_notebook_stops_where_the_package_is_neither_there_nor_found(repository, told, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    hidden = nbformat.v4.new_code_cell("import sys\nsys.modules['ppdiffusers_ext'] = None")
    install = copy.deepcopy(CODE[0])
    install.source = install.source.replace('REPOSITORY = ""', f'REPOSITORY = "{repository}"')
    with pytest.raises(CellExecutionError, match=told):
        execute([hidden, install], folder, monkeypatch)
