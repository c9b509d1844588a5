"""A stand-in for ComfyUI: its modules as nodes use them, a torch of a tensor alone, and an executor of workflows.

What is checked here is the contract of custom nodes (classes of the first kind), as ComfyUI's own `execution.py` and
its page hold nodes to it: shapes of INPUT_TYPES, bounds and choices of values, types of links, lengths of results.
"""

import contextlib
import importlib.machinery
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
KNOWN_OPTIONS = {"default", "min", "max", "step", "round", "multiline", "tooltip", "forceInput", "lazy", "display"}


class Tensor:
    """As torch's, as far as nodes may rely on it: shape, ndim, indexing, and the ways to and from numpy."""

    def __init__(self, array, device="cpu"):
        self._array, self.device = array, device

    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: self._array.ndim)
    dtype = property(lambda self: str(self._array.dtype))

    def __len__(self):
        return len(self._array)

    def __getitem__(self, key):
        return Tensor(self._array[key], self.device)

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self._array)

    def numpy(self):
        if self.device != "cpu":
            raise TypeError("can't convert a tensor of another device to numpy")
        return self._array


def from_numpy(array):
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    return Tensor(array)


class Interrupted(Exception):
    """ComfyUI's InterruptProcessingException."""


@dataclass
class Host:
    """What the stand-in modules do.

    Attributes:
        folder: of models, loras and output.
        progress: (value, total) of each update of a progress bar.
        interrupts_after: number of checks after which the user interrupts; None for never.
        checks: number of checks so far.
    """

    folder: Any
    progress: list = field(default_factory=list)
    interrupts_after: int | None = None
    checks: int = 0
    freed: int = 0

    def check(self):
        self.checks += 1
        if self.interrupts_after is not None and self.checks > self.interrupts_after:
            raise Interrupted

    def free(self):
        self.freed += 1


@contextlib.contextmanager
def standing_in(folder):
    """Within it, torch, comfy, folder_paths and nodes are stand-ins; yields the `Host`."""
    host = Host(folder)
    for name in ("models/loras", "output"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    class ProgressBar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, value, total=None, preview=None):
            host.progress.append((value, total or self.total))

    def lora_names(kind):
        root = folder / "models" / kind
        return sorted(str(path.relative_to(root)) for path in root.rglob("*.safetensors"))

    def full_path(kind, name):
        path = folder / "models" / kind / name
        return str(path) if path.is_file() else None

    management = _module(
        "comfy.model_management",
        throw_exception_if_processing_interrupted=host.check,
        unload_all_models=host.free,
        soft_empty_cache=lambda: None,
    )
    utils = _module("comfy.utils", ProgressBar=ProgressBar)
    paths = _module(
        "folder_paths",
        models_dir=str(folder / "models"),
        get_filename_list=lora_names,
        get_full_path=full_path,
        get_output_directory=lambda: str(folder / "output"),
    )
    modules = [
        _module("torch", Tensor=Tensor, from_numpy=from_numpy, float32="float32"),
        _module("comfy", utils=utils, model_management=management),
        *(utils, management, paths, _module("nodes", NODE_CLASS_MAPPINGS={})),
    ]
    before = {module.__name__: sys.modules.get(module.__name__) for module in modules}
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield host
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _module(name, **values):
    """A module that is found as one, also by `importlib.util.find_spec`, which libraries ask about torch."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(values)
    return module


class Refused(Exception):
    """ComfyUI would not queue the workflow: what its own checks of types, bounds and choices say."""


def inputs_of(node):
    """name -> (type or choices, options, whether it is required), of a node's class, in order."""
    declared = node.INPUT_TYPES()
    return {
        name: (entry[0], entry[1] if len(entry) > 1 else {}, kind == "required")
        for kind in ("required", "optional")
        for name, entry in declared.get(kind, {}).items()
    }


def is_widget(kind, options):
    return (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput")


def widget_names(node):
    """Names of the values that a workflow of the page has for a node, in order; None for control_after_generate."""
    names = []
    for name, (kind, options, _) in inputs_of(node).items():
        if is_widget(kind, options):
            names.append(name)
            if kind == "INT" and name in ("seed", "noise_seed"):
                names.append(None)
    return names


def to_api(workflow, nodes):
    """A workflow as the page saves it -> as the page sends it to POST /prompt."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] not in nodes:
            continue  # a note
        values = node.get("widgets_values", [])
        if not isinstance(values, dict):
            names = widget_names(nodes[node["type"]])
            if len(values) > len(names):
                raise Refused(f"{node['type']} has {len(values)} values for {len(names)} widgets")
            values = {name: value for name, value in zip(names, values) if name is not None}
        values |= {
            each["name"]: links[each["link"]] for each in node.get("inputs", []) if each.get("link") is not None
        }
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": values}
    return prompt


def check(prompt, nodes):
    """Raises Refused for a prompt that ComfyUI would not queue."""
    for number, entry in prompt.items():
        cls, given = nodes[entry["class_type"]], entry["inputs"]
        for name, (kind, options, is_required) in inputs_of(cls).items():
            where = f"{entry['class_type']} {number} {name}"
            if name not in given:
                if is_required:
                    raise Refused(f"{where}: required input is missing")
                continue
            value = given[name]
            if isinstance(value, list):
                source = nodes[prompt[value[0]]["class_type"]]
                if value[1] >= len(source.RETURN_TYPES):
                    raise Refused(f"{where}: no such output")
                other = source.RETURN_TYPES[value[1]]
                if other != kind and "*" not in (other, kind):
                    raise Refused(f"{where}: {other} is connected with {kind}")
            else:
                check_value(where, kind, options, value)


def check_value(where, kind, options, value):
    if isinstance(kind, list):
        if value not in kind:
            raise Refused(f"{where}: {value!r} not in {kind}")
        return
    if kind == "INT":
        value = int(value)
    elif kind == "FLOAT":
        value = float(value)
    if "min" in options and value < options["min"]:
        raise Refused(f"{where}: {value} smaller than {options['min']}")
    if "max" in options and value > options["max"]:
        raise Refused(f"{where}: {value} bigger than {options['max']}")


def execute(prompt, nodes):
    """Run a prompt: number of a node -> its outputs, a tuple. Each node runs once, after those that it needs."""
    check(prompt, nodes)
    done = {}

    def outputs(number):
        if number in done:
            return done[number]
        entry = prompt[number]
        cls, given = nodes[entry["class_type"]], {}
        for name, value in entry["inputs"].items():
            if name not in inputs_of(cls):
                continue  # as ComfyUI passes over values of inputs that a node has no more
            kind = inputs_of(cls)[name][0]
            if isinstance(value, list):
                given[name] = outputs(value[0])[value[1]]
            else:
                given[name] = {"INT": int, "FLOAT": float}.get(kind if isinstance(kind, str) else "", lambda x: x)(
                    value
                )
        result = getattr(cls(), cls.FUNCTION)(**given)
        result = result["result"] if isinstance(result, dict) else result
        if not isinstance(result, tuple) or len(result) != len(cls.RETURN_TYPES):
            raise TypeError(f"{entry['class_type']} returned {type(result).__name__} of another length")
        done[number] = result
        return result

    for number in prompt:
        outputs(number)
    return done
