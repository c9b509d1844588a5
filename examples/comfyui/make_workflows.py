"""Writes the workflows in this folder: NAME.json for ComfyUI's page, NAME_api.json for POST /prompt, and NAME.png.

    python examples/comfyui/make_workflows.py

Values that are not named here are the defaults of the nodes, whose inputs follow from the declared options; so it is
run again when these change. It needs no ComfyUI.
"""

import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1]))

# Nodes of ComfyUI itself: widgets with defaults, sockets, outputs.
CORE: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, str]]] = {
    "LoadImage": ({"image": "reference.png", "upload": "image"}, {}, {"IMAGE": "IMAGE", "MASK": "MASK"}),
    "LoadVideo": ({"file": "driving.mp4", "upload": "image"}, {}, {"VIDEO": "VIDEO"}),
    "GetVideoComponents": ({}, {"video": "VIDEO"}, {"images": "IMAGE", "audio": "AUDIO", "fps": "FLOAT"}),
    "CreateVideo": ({"fps": 24.0}, {"images": "IMAGE", "audio": "AUDIO"}, {"VIDEO": "VIDEO"}),
    "SaveVideo": (
        {"filename_prefix": "video/ppdiffusers_ext", "format": "auto", "codec": "auto"},
        {"video": "VIDEO"},
        {},
    ),
}
_PAGE_ONLY = ("upload",)  # buttons, which POST /prompt is not sent
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
_GOOD = "A dog shakes its head. High quality, masterpiece, best quality, highres, ultra-detailed, fantastic."
_BAD = "Deformation, low-resolution, blurry, ugly, distortion."


@dataclass
class Node:
    """A node of a workflow.

    Attributes:
        kind: its id in ComfyUI.
        at: column and row in the picture.
        values: of widgets that are not the defaults.
        links: name of an input -> (number of a node, name of its output).
    """

    kind: str
    at: tuple[float, float]
    values: dict[str, Any] = field(default_factory=dict)
    links: dict[str, tuple[int, str]] = field(default_factory=dict)


@dataclass
class Shape:
    """What a kind of node has: widgets with their defaults, sockets and outputs with their types, in order."""

    title: str
    widgets: dict[str, Any]
    sockets: dict[str, str]
    outputs: dict[str, str]
    numbers: frozenset[str] = frozenset()  # widgets that are FLOAT, which a link may replace


def without_host() -> None:
    """Have the nodes' modules find no files of users: the workflows name none."""
    paths: Any = types.ModuleType("folder_paths")
    paths.models_dir, paths.get_filename_list = "/nowhere", lambda kind: []
    sys.modules["folder_paths"] = paths


def shape_of(kind: str) -> Shape:
    """The `Shape` of a kind."""
    if kind in CORE:
        widgets, sockets, outputs = CORE[kind]
        return Shape(kind, dict(widgets), dict(sockets), dict(outputs), frozenset({"fps"} & set(widgets)))
    from ppdiffusers_ext.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    node = NODE_CLASS_MAPPINGS[kind]
    shape = Shape(NODE_DISPLAY_NAME_MAPPINGS[kind], {}, {}, dict(zip(node.RETURN_NAMES, node.RETURN_TYPES)))
    declared = node.INPUT_TYPES()
    for name, (of, *more) in {**declared["required"], **declared.get("optional", {})}.items():
        if isinstance(of, list) or of in _WIDGETS:
            shape.widgets[name] = more[0].get("default", "")
            if name == "seed":
                shape.widgets["control_after_generate"] = "fixed"
            if of == "FLOAT":
                shape.numbers |= {name}
        else:
            shape.sockets[name] = of
    return shape


def for_page(nodes: dict[int, Node]) -> dict[str, Any]:
    """A workflow as the page loads it."""
    links: list[list[Any]] = []
    listed = []
    for number, node in nodes.items():
        shape, inputs = shape_of(node.kind), []
        for name in [*shape.sockets, *shape.numbers]:
            if name not in node.links and name in shape.numbers:
                continue
            entry: dict[str, Any] = {"name": name, "type": shape.sockets.get(name, "FLOAT"), "link": None}
            if name in node.links:
                source, output = node.links[name]
                outputs = list(shape_of(nodes[source].kind).outputs)
                links.append([len(links) + 1, source, outputs.index(output), number, len(inputs), entry["type"]])
                entry["link"] = len(links)
            inputs.append(entry | ({"widget": {"name": name}} if name in shape.numbers else {}))
        listed.append((number, node, shape, inputs))
    written = []
    for order, (number, node, shape, inputs) in enumerate(listed):
        outputs = [
            {"name": name, "type": of, "links": [link[0] for link in links if link[1:3] == [number, slot]]}
            for slot, (name, of) in enumerate(shape.outputs.items())
        ]
        left, top, width, height = box_of(node, shape)
        values = {**shape.widgets, **node.values}
        written.append(
            {
                "id": number,
                "type": node.kind,
                "pos": [left, top],
                "size": [width, height],
                "flags": {},
                "order": order,
                "mode": 0,
                "inputs": inputs,
                "outputs": outputs,
                "properties": {"Node name for S&R": node.kind},
                "widgets_values": list(values.values()),
            }
        )
    return {
        "last_node_id": max(nodes),
        "last_link_id": len(links),
        "nodes": written,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def for_api(nodes: dict[int, Node]) -> dict[str, Any]:
    """A workflow as POST /prompt takes it."""
    prompt = {}
    for number, node in nodes.items():
        shape = shape_of(node.kind)
        unsent = (*_PAGE_ONLY, "control_after_generate")
        inputs: dict[str, Any] = {k: v for k, v in {**shape.widgets, **node.values}.items() if k not in unsent}
        for name, (source, output) in node.links.items():
            inputs[name] = [str(source), list(shape_of(nodes[source].kind).outputs).index(output)]
        prompt[str(number)] = {"class_type": node.kind, "inputs": inputs, "_meta": {"title": shape.title}}
    return prompt


_COLUMN, _ROW, _WIDTH, _LINE = 400, 60, 330, 24
_MOST = 25  # letters of a value in a picture
_COLOURS = {
    **{"IMAGE": "#64b5f6", "MASK": "#81c784", "AUDIO": "#ffb74d", "VIDEO": "#ba68c8", "FLOAT": "#b0bec5"},
    **{"STRING_PROMPT": "#fff176", "EASYANIMATESMODEL": "#e57373"},
}


def box_of(node: Node, shape: Shape) -> tuple[int, int, int, int]:
    """Left, top, width and height of a node in pixels."""
    lines = max(len(shape.sockets), len(shape.outputs)) + len(shape.widgets)
    column, row = node.at
    return int(40 + column * _COLUMN), int(50 + row * _ROW), _WIDTH, 40 + lines * _LINE


def draw(nodes: dict[int, Node]) -> PIL.Image.Image:
    """A picture of a workflow: nodes with their values, and links."""
    shapes = {number: shape_of(node.kind) for number, node in nodes.items()}
    boxes = {number: box_of(node, shapes[number]) for number, node in nodes.items()}
    right, bottom = (max(box[i] + box[i + 2] for box in boxes.values()) + 40 for i in (0, 1))
    picture = PIL.Image.new("RGB", (right, bottom), "#1e1f22")
    pen, font = PIL.ImageDraw.Draw(picture), PIL.ImageFont.load_default(14)
    for number, (left, top, width, height) in boxes.items():
        shape, node = shapes[number], nodes[number]
        pen.rounded_rectangle((left, top, left + width, top + height), 8, fill="#353539", outline="#55565c")
        pen.rounded_rectangle((left, top, left + width, top + 26), 8, fill="#4a4b52")
        pen.text((left + 10, top + 5), shape.title, "#ffffff", font)
        for line, name in enumerate(shape.sockets):
            pen.text((left + 14, top + 34 + line * _LINE), name, "#d5d6da", font)
        for line, name in enumerate(shape.outputs):
            pen.text((left + width - 14, top + 34 + line * _LINE), name, "#d5d6da", font, anchor="ra")
        first = top + 36 + max(len(shape.sockets), len(shape.outputs)) * _LINE
        for line, (name, value) in enumerate({**shape.widgets, **node.values}.items()):
            y = first + line * _LINE
            pen.rounded_rectangle((left + 10, y, left + width - 10, y + _LINE - 4), 8, fill="#232427")
            shown = "(linked)" if name in node.links else str(value)
            shown = shown if len(shown) <= _MOST else f"{shown[: _MOST - 3]}..."
            pen.text((left + 18, y + 2), name, "#9a9ba1", font)
            pen.text((left + width - 18, y + 2), shown, "#e8e8ea", font, "ra")
    for number, node in nodes.items():
        for name, (source, output) in node.links.items():
            _draw_link(pen, boxes, shapes, (source, output), (number, name))
    return picture


def _draw_link(pen: Any, boxes: Any, shapes: Any, start: tuple[int, str], end: tuple[int, str]) -> None:
    """A curve from an output to an input."""
    (source, output), (number, name) = start, end
    outputs, shape = list(shapes[source].outputs), shapes[number]
    from_x, from_y = boxes[source][0] + boxes[source][2], boxes[source][1] + 42 + outputs.index(output) * _LINE
    to_x, to_y = boxes[number][0], boxes[number][1]
    sockets = list(shape.sockets)
    if name in sockets:
        to_y += 42 + sockets.index(name) * _LINE
    else:
        above = max(len(sockets), len(shape.outputs))
        to_y += 46 + (above + list(shape.widgets).index(name)) * _LINE
    colour = _COLOURS.get(shapes[source].outputs[output], "#90a4ae")
    bend = max(40, abs(to_x - from_x) // 2)
    points = []
    for i in range(41):
        t = i / 40
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        xs, ys = (from_x, from_x + bend, to_x - bend, to_x), (from_y, from_y, to_y, to_y)
        points.append((sum(w * x for w, x in zip(weights, xs)), sum(w * y for w, y in zip(weights, ys))))
    pen.line(points, colour, 3, joint="curve")
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)


def _driving(style: str) -> dict[int, Node]:
    """Picture, driving video, and its skeletons."""
    return {
        1: Node("LoadImage", (0, 0)),
        2: Node("LoadVideo", (0, 3)),
        3: Node("GetVideoComponents", (0, 6), links={"video": (2, "VIDEO")}),
        4: Node(
            *("PPDX_EstimatePoses", (1, 0), {"style": style}),
            {"images": (3, "images"), "reference_image": (1, "IMAGE"), "fps": (3, "fps")},
        ),
    }


def _saved(first: int, column: float, source: int, audio: bool = True) -> dict[int, Node]:
    """Frames as a video with sound."""
    links = {"images": (source, "images")} | ({"audio": (source, "audio"), "fps": (source, "fps")} if audio else {})
    return {
        first: Node("CreateVideo", (column, 0), links=links),
        first + 1: Node("SaveVideo", (column, 3), links={"video": (first, "VIDEO")}),
    }


def _animated(kind: str, values: dict[str, Any], at: float = 2, **links: tuple[int, str]) -> Node:
    given = {"model": (5, "model"), "reference_image": (1, "IMAGE"), "pose_images": (4, "pose_images")}
    given["keypoints"] = (4, "keypoints")
    return Node(kind, (at, 0), values, {**given, "fps": (3, "fps"), "audio": (3, "audio"), **links})


def _easy(kind: str, values: dict[str, Any], **links: tuple[int, str]) -> dict[int, Node]:
    """Prompts, a model of V4, and a sampler with its options."""
    given = {"easyanimate_model": (1, "easyanimate_model"), "prompt": (2, "prompt"), "negative_prompt": (3, "prompt")}
    return {
        1: Node("LoadEasyAnimateModel", (0, 0), {"precision": "bf16"}),
        2: Node("EasyAnimate_TextBox", (0, 4), {"prompt": _GOOD}),
        3: Node("EasyAnimate_TextBox", (0, 6), {"prompt": _BAD}),
        4: Node("PPDX_EasyAnimateOptions", (1, 0)),
        5: Node(kind, (2, 0), values, {**given, **links, "options": (4, "options")}),
    }


# The demo model is for small pictures, and needs no guidance.
_DEMO = {"width": 192, "height": 192, "num_inference_steps": 8, "guidance_scale": 1.0, "report": True}
WORKFLOWS: dict[str, dict[int, Node]] = {
    "animate_anyone_demo": {
        **_driving("animate_anyone"),
        5: Node("PPDX_LoadAnimateAnyone", (1, 7.5), {"model": "demo"}),
        6: _animated("PPDX_AnimateAnyone", _DEMO),
        **_saved(7, 3, 6),
        9: Node("PPDX_SaveReport", (3, 6), {"filename_prefix": "animate_anyone"}, {"report": (6, "report")}),
    },
    "stable_animator": {
        **_driving("stable_animator"),
        5: Node("PPDX_LoadStableAnimator", (1, 7.5)),
        10: Node("PPDX_FaceMask", (1, 12), links={"images": (1, "IMAGE")}),
        6: _animated("PPDX_StableAnimator", {"optimize_face": "true", "report": True}, face_mask=(10, "masks")),
        **_saved(7, 3, 6),
        9: Node("PPDX_SaveReport", (3, 6), {"filename_prefix": "stable_animator"}, {"report": (6, "report")}),
    },
    "easy_animate_t2v": {
        **_easy("EasyAnimateT2VSampler", {"width": 672, "height": 384}),
        **_saved(6, 3, 5, audio=False),
    },
    "easy_animate_i2v": {
        **_easy("EasyAnimateI2VSampler", {}, start_img=(8, "IMAGE")),
        8: Node("LoadImage", (0, 8), {"image": "start.png"}),
        **_saved(6, 3, 5, audio=False),
    },
    "easy_animate_v2v": {
        **_easy("EasyAnimateV2VSampler", {}, validation_video=(9, "images")),
        8: Node("LoadVideo", (0, 8), {"file": "walk.mp4"}),
        9: Node("GetVideoComponents", (0, 11), links={"video": (8, "VIDEO")}),
        **_saved(6, 3, 5, audio=False),
    },
}


def texts() -> dict[str, str]:
    """Name of each JSON file -> its content."""
    found = {}
    for name, nodes in WORKFLOWS.items():
        for ending, make in ((".json", for_page), ("_api.json", for_api)):
            found[f"{name}{ending}"] = json.dumps(make(nodes), indent=1, ensure_ascii=False) + "\n"
    return found


if __name__ == "__main__":
    without_host()
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    for name, nodes in WORKFLOWS.items():
        draw(nodes).quantize(64).save(FOLDER / f"{name}.png", optimize=True)
