"""The contract of ComfyUI for all nodes, and the ways in which their folder is imported."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ppdiffusers_ext.comfyui
from ppdiffusers_ext.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from tests.support import comfy_host, easy_workflows

ROOT = Path(__file__).parents[2]
FOLDER = Path(ppdiffusers_ext.comfyui.__file__).parent
IDS = sorted(NODE_CLASS_MAPPINGS)
# Sockets and widgets of the original's nodes (aigc-apps/EasyAnimate at abcf42b), in its order.
ORIGINAL = {
    "LoadEasyAnimateModel": ["model", "low_gpu_memory_mode", "config", "precision"],
    "LoadEasyAnimateLora": ["easyanimate_model", "lora_name", "strength_model"],
    "TextBox": ["prompt"],
    "EasyAnimateT2VSampler": [
        *("easyanimate_model", "prompt", "negative_prompt", "video_length", "width", "height", "is_image", "seed"),
        *("steps", "cfg", "scheduler"),
    ],
    "EasyAnimateI2VSampler": [
        *("easyanimate_model", "prompt", "negative_prompt", "video_length", "base_resolution", "seed", "steps", "cfg"),
        *("scheduler", "start_img", "end_img"),
    ],
    "EasyAnimateV2VSampler": [
        *("easyanimate_model", "prompt", "negative_prompt", "video_length", "base_resolution", "seed", "steps", "cfg"),
        *("denoise_strength", "scheduler", "validation_video"),
    ],
}


@pytest.mark.parametrize("name", IDS)
def test_node_keeps_to_the_contract(host, name):
    node = NODE_CLASS_MAPPINGS[name]
    declared = node.INPUT_TYPES()
    assert set(declared) <= {"required", "optional"} and "required" in declared
    for entry in [entry for kind in declared.values() for entry in kind.values()]:
        assert isinstance(entry, tuple) and len(entry) in (1, 2)
        kind, options = entry[0], entry[1] if len(entry) > 1 else {}
        assert isinstance(kind, (str, list)) and set(options) <= comfy_host.KNOWN_OPTIONS
        if isinstance(kind, list) and "default" in options:
            assert options["default"] in kind
        if kind in ("INT", "FLOAT"):
            number = int if kind == "INT" else float
            assert all(type(options[each]) is number for each in ("default", "min", "max"))
            assert options["min"] <= options["default"] <= options["max"] and options.get("step", 1) > 0
        if kind == "BOOLEAN":
            assert type(options["default"]) is bool
    assert isinstance(node.RETURN_TYPES, tuple) and len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    assert len(getattr(node, "OUTPUT_TOOLTIPS", node.RETURN_TYPES)) == len(node.RETURN_TYPES)
    assert callable(getattr(node(), node.FUNCTION)) and node.CATEGORY and node.DESCRIPTION
    assert NODE_DISPLAY_NAME_MAPPINGS[name]


def test_what_the_page_asks_of_all_nodes_can_be_written_as_json(host):
    told = {name: node.INPUT_TYPES() for name, node in NODE_CLASS_MAPPINGS.items()}
    json.dumps(told, allow_nan=False)
    names = [
        name for node in told.values() for kind in node.values() for name, entry in kind.items() if len(entry) == 2
    ]
    assert len(names) > 100
    without = [
        (node, name)
        for node, kinds in told.items()
        for name, entry in kinds["required"].items()
        if comfy_host.is_widget(entry[0], {}) and not entry[1].get("tooltip") and (node, name) != ("TextBox", "prompt")
    ]
    assert [pair for pair in without if pair[0] != "EasyAnimate_TextBox"] == []


@pytest.mark.parametrize("name", ORIGINAL)
def test_inputs_of_the_originals_nodes_are_in_its_order_and_further_ones_come_last(host, name):
    names = list(comfy_host.inputs_of(NODE_CLASS_MAPPINGS[name]))
    assert names[: len(ORIGINAL[name])] == ORIGINAL[name]
    further = names[len(ORIGINAL[name]) :]
    assert all(not comfy_host.inputs_of(NODE_CLASS_MAPPINGS[name])[each][2] for each in further)


@pytest.mark.parametrize("name", easy_workflows.WORKFLOWS)
def test_widgets_of_the_originals_workflows_have_their_values(host, name):
    """Each value of a workflow is one that its widget takes, in the place in which the file has it."""
    for kind, _, values in easy_workflows.WORKFLOWS[name][0].values():
        if kind not in NODE_CLASS_MAPPINGS or kind == "LoadEasyAnimateLora":  # whose files are the user's
            continue
        inputs = comfy_host.inputs_of(NODE_CLASS_MAPPINGS[kind])
        names = comfy_host.widget_names(NODE_CLASS_MAPPINGS[kind])
        assert len(values) <= len(names)
        for widget, value in zip(names, values):
            if widget is None:
                assert value in ("fixed", "increment", "decrement", "randomize")
            else:
                comfy_host.check_value(widget, *inputs[widget][:2], value)


def run(code, folder, **environment):
    """Output of a Python that has neither this project nor the current folder on its path."""
    path = str(ROOT / "tests" / "support")  # of the stand-in alone
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


LOAD = """
import importlib.util, sys
from pathlib import Path
name = "custom_nodes_x_" + Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER).name
spec = importlib.util.spec_from_file_location(name, FOLDER + "/__init__.py", submodule_search_locations=[FOLDER])
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
import ppdiffusers_ext
print(len(module.NODE_CLASS_MAPPINGS), ppdiffusers_ext.__file__, [x for x in ("paddle", "torch") if x in sys.modules])
"""
ELSEWHERE = (
    "import sys; sys.path = [p for p in sys.path if p]; sys.meta_path = [f for f in sys.meta_path if "
    "'editable' not in getattr(f, '__module__', '') + getattr(f, '__name__', '')]\n"
)


def test_a_link_in_custom_nodes_is_enough_and_imports_neither_paddle_nor_torch(tmp_path):
    link = tmp_path / "custom_nodes" / "my nodes-1.0"
    link.parent.mkdir()
    link.symlink_to(FOLDER, target_is_directory=True)
    told = run(f"{ELSEWHERE}FOLDER = {str(link)!r}{LOAD}", tmp_path)
    assert f"{len(IDS)} {ROOT / 'ppdiffusers_ext' / '__init__.py'} []" in told, told


def test_a_copy_without_the_package_says_what_is_missing(tmp_path):
    copy = tmp_path / "custom_nodes" / "copied" / "comfyui"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text((FOLDER / "__init__.py").read_text())
    told = run(f"{ELSEWHERE}FOLDER = {str(copy)!r}{LOAD}", tmp_path)
    assert "ImportError: the nodes of ppdiffusers_ext are a copy without the package; a link" in told, told


def test_another_packages_node_of_a_common_name_stays(host):
    from ppdiffusers_ext.comfyui import nodes

    try:
        sys.modules["nodes"].NODE_CLASS_MAPPINGS["TextBox"] = object
        found = importlib.reload(nodes).NODE_CLASS_MAPPINGS
        assert "TextBox" not in found and "EasyAnimate_TextBox" in found
        assert set(nodes.NODE_DISPLAY_NAME_MAPPINGS) == set(found)
    finally:
        del sys.modules["nodes"].NODE_CLASS_MAPPINGS["TextBox"]
        importlib.reload(nodes)
