"""Pictures of people for tests: drawn ones, and real ones of installed packages and of samples beside the project."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.synthetic import synthetic_clip

ROOT = Path(__file__).parents[2]
CARTOON = ROOT / "assets" / "reference.png"


def sample(name):
    """The path of a file of the folder shared/samples, which lies beside some checkouts; skips the test elsewhere."""
    folders = [parent / "shared" / "samples" for parent in (ROOT.parent, ROOT.parent.parent)]
    path = next((folder / name for folder in folders if (folder / name).exists()), None)
    return path or pytest.skip(f"shared/samples/{name}, a picture of somebody, is not beside this checkout")


def picture(path):
    """(H, W, 3) uint8."""
    return np.asarray(read_image(path).convert("RGB"))


def group():
    """Six people at a table, whom insightface's package brings."""
    import insightface

    return picture(Path(insightface.__file__).parent / "data" / "images" / "t1.jpg")


def cartoon():
    """A drawn woman before a plain wall, standing, (256, 256, 3)."""
    return synthetic_clip(7, 1, 256, 256).reference


def video_frame(path, number):
    """A frame of a video, as OpenCV decodes it."""
    video = cv2.VideoCapture(str(path))
    video.set(cv2.CAP_PROP_POS_FRAMES, number)
    return np.ascontiguousarray(video.read()[1][..., ::-1])
