"""The networks that ship in assets/pose_networks, which need no download.

    network = OnnxNetwork(embedded_network("pose_detection"))

networks.json beside them says what each takes and gives.
"""

import functools
from pathlib import Path

from ppdiffusers_ext import packaged
from ppdiffusers_ext.errors import InputError, MissingFileError, shown, shown_path
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.weights.checksums import sha256_of

_ACCEPTED = "`python -m scripts.make_pose_assets --overwrite` makes it again"


def embedded_network(name: str) -> Path:
    """The path of a network's ONNX file, which is read and held against its SHA-256 once in a process.

    Args:
        name: "pose_detection", "pose_landmark_full", "hand_landmark_full", "hand_recrop",
            "face_detection_full_range_sparse", "face_detection_short_range", "face_landmark" or "mobileface".

    Raises:
        MissingFileError: the file, or networks.json, is not there.
        InputError: there is no such network, or the file is damaged.
    """
    return _checked(packaged.FOLDER / "assets" / "pose_networks", name)


@functools.cache  # errors are not kept: a file may be made again meanwhile
def _checked(folder: Path, name: str) -> Path:
    where = folder / "networks.json"
    description = read_json(where, "description of the embedded networks", _ACCEPTED)
    try:
        known = {key: str(entry["sha256"]) for key, entry in description["networks"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{shown_path(where)} does not describe networks; {_ACCEPTED}") from error
    if name not in known:
        raise InputError(f"no embedded network is named {shown(name)}; {', '.join(known)} are accepted")
    path = folder / f"{name}.onnx"
    if not path.is_file():
        raise MissingFileError(f"embedded network {shown_path(path)} does not exist; {_ACCEPTED}")
    if (found := sha256_of(path)) != known[name]:
        raise InputError(
            f"embedded network {shown_path(path)} is damaged: its sha256 is {found} instead of {known[name]}; "
            f"{_ACCEPTED}"
        )
    return path
