"""What tests of poses share: drawn people as `Pose`, and small networks that find painted rectangles."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.preprocess.pose import DETECTOR, ESTIMATOR

# A standing body in OpenPose's order, in fractions of its own box.
STANDING = np.array(
    [
        *((0.50, 0.10), (0.50, 0.22), (0.36, 0.22), (0.28, 0.36), (0.24, 0.50), (0.64, 0.22), (0.72, 0.36)),
        *((0.76, 0.50), (0.42, 0.54), (0.40, 0.75), (0.39, 0.97), (0.58, 0.54), (0.60, 0.75), (0.61, 0.97)),
        *((0.46, 0.07), (0.54, 0.07), (0.42, 0.09), (0.58, 0.09)),
    ]
)
# Where DWPose's 133 points are among OpenPose's joints; the neck is none of them.
_OF_NETWORK = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
PAINT, DIM_PAINT = (255, 0, 255), (206, 0, 206)
SIZE = (96, 72)  # of the small pose network's crops


def person(left=0.25, top=0.1, width=0.5, height=0.8, score=0.9, missing=()):
    """A standing `Pose` of one, in a box of fractions of the frame; `missing` joints are not seen."""
    corner, sides = np.array([left, top]), np.array([width, height])
    body = STANDING * sides + corner
    scores = np.full((1, 18), score)
    scores[0, list(missing)] = 0.1
    hands = np.stack([body[[7]].repeat(21, axis=0), body[[4]].repeat(21, axis=0)])
    hands = hands + np.linspace(0, 0.05, 21)[:, None] * sides
    face = body[0] + np.linspace(-0.04, 0.04, 68)[:, None] * sides
    return Pose(body[None], scores, hands[None], np.full((1, 2, 21), score), face[None], np.full((1, 68), score))


def together(*people):
    """Several people in a frame."""
    return Pose(*(np.concatenate([getattr(one, name) for one in people]) for name in Pose.__dataclass_fields__))


def painted(size, *boxes):
    """A grey (H, W, 3) frame with rectangles (left, top, right, bottom), ends excluded, of the colour to be found."""
    frame = np.full((*size, 3), 60, np.uint8)
    for left, top, right, bottom in boxes:
        frame[top:bottom, left:right] = PAINT
    return frame


def crop_points():
    """Where the small pose network sees its 133 points, in pixels of its crop: a standing body, the rest around it."""
    body = STANDING[_OF_NETWORK]
    rest = np.repeat(STANDING[[0, 7, 4]], (6 + 68, 21, 21), axis=0)  # feet and face, left hand, right hand
    # A crop is 1.25 times its box.
    return np.rint(((np.concatenate([body, rest]) - 0.5) / 1.25 + 0.5) * (SIZE[1], SIZE[0]))


def write_networks(folder, batch=1):
    """Files of the names, inputs and outputs of YOLOX and DWPose.

    The detector finds the rectangle of paint in a picture, with the score 0.9. The pose network sees `crop_points`
    with the score 0.8, or 0.1 where its crop is not painted; what is painted dimly, only the detector sees.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save(_detector(batch), str(folder / DETECTOR))
    save(_estimator(), str(folder / ESTIMATOR))
    return folder


class _Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, array):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def __call__(self, kind, *inputs, **attributes):
        inputs = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def model(self, input_shape, outputs):
        def info(name, shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        inputs = [info("input", input_shape)]
        outputs = [info(name, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "small", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        return model


def _is_paint(graph, picture, red, green):
    """(n, 1, h, w) of 0 and 1: red above and green below a value."""
    channels = [graph("Gather", picture, np.array([i]), axis=1) for i in (0, 1)]
    both = graph("And", graph("Greater", channels[0], np.float32(red)), graph("Less", channels[1], np.float32(green)))
    return graph("Cast", both, to=TensorProto.FLOAT)


def _detector(batch):
    graph, side = _Graph(), 640
    mask = _is_paint(graph, "input", 200, 40)
    ends = {}
    for axis, name in ((2, "x"), (3, "y")):
        line = graph("ReduceMax", mask, axes=[axis], keepdims=0)  # (n, 1, side)
        for last in (0, 1):
            index = graph("ArgMax", line, axis=2, keepdims=0, select_last_index=last)  # (n, 1)
            ends[name, last] = graph("Cast", index, to=TensorProto.FLOAT)
    parts = []
    for name in "xy":
        total = graph("Add", graph("Add", ends[name, 0], ends[name, 1]), np.float32(1))
        parts.append(graph("Div", total, np.float32(16)))  # the centre in cells of 8 pixels
    for name in "xy":
        length = graph("Add", graph("Sub", ends[name, 1], ends[name, 0]), np.float32(1))
        parts.append(graph("Log", graph("Div", length, np.float32(8))))
    found = graph("ReduceMax", graph("ReduceMax", mask, axes=[2, 3], keepdims=0), axes=[1], keepdims=1)  # (n, 1)
    score = graph("Mul", found, np.float32(0.9))
    row = graph("Concat", *parts, score, found, axis=1)  # (n, 6)
    row = graph("Unsqueeze", graph("Pad", row, np.array([0, 0, 0, 79])), np.array([1]))  # (n, 1, 85)
    output = graph("Pad", row, np.array([0, 0, 0, 0, 8399, 0]))  # (n, 8400, 85)
    return graph.model([batch, 3, side, side], {output: [batch, 8400, 85]})


def _estimator():
    graph, (height, width) = _Graph(), SIZE
    pixels = graph("Reshape", _is_paint(graph, "input", 1.5, -1.5), np.array([-1, height * width]))
    columns, rows = crop_points().astype(int).T
    seen = graph("Gather", pixels, rows * width + columns, axis=1)  # (n, 133)
    seen = graph("Unsqueeze", seen, np.array([2]))
    outputs = {}
    for axis, (name, length) in enumerate((("simcc_x", 2 * width), ("simcc_y", 2 * height))):
        peaks = np.zeros((1, 133, length), np.float32)
        peaks[0, np.arange(133), (2 * crop_points()[:, axis]).astype(int)] = 1
        weight = graph("Add", graph("Mul", seen, np.float32(0.7)), np.float32(0.1))
        graph.nodes.append(helper.make_node("Mul", [weight, graph.constant(peaks)], [name]))
        outputs[name] = ["n", 133, length]
    return graph.model(["n", 3, height, width], outputs)
