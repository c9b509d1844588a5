"""Small networks of antelopev2's names, inputs and outputs, that find painted faces."""

import numpy as np
from onnx import TensorProto, save

from ppdiffusers_ext.preprocess.faces import DETECTOR, EMBEDDING, FOLDER, RECOGNISER
from tests.support.people import _Graph

SIDE = 640  # of the pictures in which the detector looks
PAINT = ((255, 0, 255), (0, 255, 0))  # of the two faces that can be told apart; the same in RGB and in BGR
SCORES = (0.9, 0.8)
# The five points of a face, in fractions of its box, near where ArcFace wants them.
_POINTS = np.array([(0.35, 0.4), (0.65, 0.4), (0.5, 0.6), (0.38, 0.8), (0.62, 0.8)])
_STRIDES = (8, 16, 32)


def painted_faces(size, *boxes):
    """A grey (H, W, 3) frame with faces in boxes (left, top, right, bottom), ends excluded: magenta, then green."""
    frame = np.full((*size, 3), 60, np.uint8)
    for (left, top, right, bottom), paint in zip(boxes, PAINT):
        frame[top:bottom, left:right] = paint
    return frame


def write_face_networks(root):
    """Write both files below a folder, and return it.

    The detector finds one box around all magenta, and one around all green. The recogniser's embedding is the mean
    colour of the aligned face, mixed into 512 numbers.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    save(_detector(), str(folder / DETECTOR))
    save(_recogniser(), str(folder / RECOGNISER))
    return root


def _mask(graph, is_magenta):
    """(1, 1, h, w) of 0 and 1 where the picture, of values from -1 to 1, has a colour."""
    red, green = (graph("Gather", "input", np.array([i]), axis=1) for i in (0, 1))
    high, low = (red, green) if is_magenta else (green, red)
    both = graph("And", graph("Greater", high, np.float32(0.5)), graph("Less", low, np.float32(-0.5)))
    return graph("Cast", both, to=TensorProto.FLOAT)


def _find(graph, mask, score):
    """Of what is set in a mask: the score, (1, 1), and left, top, right, bottom in pixels, each (1, 1)."""
    ends = []
    for last in (0, 1):
        for axis in (2, 3):
            line = graph("ReduceMax", mask, axes=[axis], keepdims=0)  # (1, 1, side)
            index = graph("ArgMax", line, axis=2, keepdims=0, select_last_index=last)
            ends.append(graph("Add", graph("Cast", index, to=TensorProto.FLOAT), np.float32(last)))
    found = graph("ReduceMax", graph("ReduceMax", mask, axes=[2, 3], keepdims=0), axes=[1], keepdims=1)
    return graph("Mul", found, np.float32(score)), ends


def _detector():
    # The two faces are what the two anchors in the upper left corner see; all others see nothing.
    graph, rows = _Graph(), {"score": [], "box": [], "points": []}
    for is_magenta, score in zip((True, False), SCORES):
        seen, (left, top, right, bottom) = _find(graph, _mask(graph, is_magenta), score)
        rows["score"].append(seen)
        minus = [graph("Neg", x) for x in (left, top)]
        rows["box"].append(graph("Concat", *minus, right, bottom, axis=1))
        width, height = graph("Sub", right, left), graph("Sub", bottom, top)
        points = [
            graph("Add", start, graph("Mul", side, np.float32(fraction)))
            for point in _POINTS
            for start, side, fraction in zip((left, top), (width, height), point)
        ]
        rows["points"].append(graph("Concat", *points, axis=1))
    outputs = {}
    for name, width in (("score", 1), ("box", 4), ("points", 10)):
        both = graph("Concat", *rows[name], axis=0)  # (2, width)
        for stride in _STRIDES:
            anchors = 2 * (SIDE // stride) ** 2
            first = graph("Div", both, np.float32(1 if name == "score" else stride))
            if stride != _STRIDES[0]:
                first = graph("Mul", first, np.float32(0))
            padded = graph("Pad", first, np.array([0, 0, anchors - 2, 0]))
            outputs[padded] = [anchors, width]
    return graph.model([1, 3, SIDE, SIDE], outputs)


def _recogniser():
    graph = _Graph()
    means = graph("ReduceMean", "input", axes=[2, 3], keepdims=0)  # (n, 3)
    weights = np.random.default_rng(0).standard_normal((3, EMBEDDING)).astype(np.float32)
    output = graph("MatMul", graph("Add", means, np.float32(0.1)), weights)
    return graph.model(["n", 3, 112, 112], {output: ["n", EMBEDDING]})
