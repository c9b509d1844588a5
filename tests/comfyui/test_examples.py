"""The workflows in examples/comfyui: what the script makes, as ComfyUI would queue them."""

import json
import runpy
from pathlib import Path

import PIL.Image
import pytest

from ppdiffusers_ext.comfyui.nodes import NODE_CLASS_MAPPINGS
from tests.support import comfy_host

FOLDER = Path(__file__).parents[2] / "examples" / "comfyui"
MADE = runpy.run_path(str(FOLDER / "make_workflows.py"))
NAMES = sorted(MADE["WORKFLOWS"])


def core(kind):
    """A node of ComfyUI itself, as the script knows it."""
    values, sockets, outputs = MADE["CORE"][kind]
    inputs = {name: ("FLOAT" if isinstance(value, float) else "STRING", {}) for name, value in values.items()}

    class Core:
        RETURN_TYPES = tuple(outputs.values())

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}, "optional": {**inputs, **{name: (of,) for name, of in sockets.items()}}}

    return Core


@pytest.fixture
def known(host):
    return {**NODE_CLASS_MAPPINGS, **{kind: core(kind) for kind in MADE["CORE"]}}


@pytest.mark.parametrize("name", NAMES)
def test_workflow_would_be_queued_and_is_the_same_from_the_page(known, name):
    prompt = json.loads((FOLDER / f"{name}_api.json").read_text())
    comfy_host.check(prompt, known)
    page = comfy_host.to_api(json.loads((FOLDER / f"{name}.json").read_text()), known)
    assert page.keys() == prompt.keys()
    for number, entry in page.items():
        unsent = {"upload", "control_after_generate"}
        assert {k: v for k, v in entry["inputs"].items() if k not in unsent} == prompt[number]["inputs"]


def test_files_are_those_that_the_script_writes(host):
    for name, text in MADE["texts"]().items():
        assert (FOLDER / name).read_text() == text, f"{name}: python examples/comfyui/make_workflows.py"
    for name in NAMES:
        with PIL.Image.open(FOLDER / f"{name}.png") as picture:
            assert picture.width > 1000 and len(picture.getcolors()) > 20
    listed = {path.name for path in FOLDER.glob("*.json")}
    assert listed == set(MADE["texts"]())


def test_every_node_is_in_a_workflow(host):
    used = {node.kind for nodes in MADE["WORKFLOWS"].values() for node in nodes.values()}
    left = set(NODE_CLASS_MAPPINGS) - used
    assert left == {"TextBox", "LoadEasyAnimateLora"}  # of the original's workflows
