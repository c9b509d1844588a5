"""A small clip in the folder of a run, and options of a caption server that is asked again at once."""

import numpy as np

from ppdiffusers_ext.data.chain.caption_options import CaptionOptions
from ppdiffusers_ext.data.chain.steps import Place
from tests.support.odd_videos import encode

KEY = "sk-very-secret"


def make_place(folder, keys=("a/dog_0.mp4",), num_frames=12, width=96, height=64):
    """A `Place` with clips whose frames get brighter, each clip in another way."""
    place = Place(folder / "raw", folder / "out")
    for number, key in enumerate(keys):
        path = place.clips / key
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [np.full((height, width, 3), 20 + 10 * index + number, np.uint8) for index in range(num_frames)]
        encode(path, frames, qp=10)
    return place


def row_of(key="a/dog_0.mp4", **columns):
    return {"key": key, "video": "a/dog.mp4", **columns}


def options_of(server, **options):
    return CaptionOptions(
        **{"captioner": server.url, "model": "seer", "api_key": KEY, "caption_attempts": 1, "caption_frames": 3,
           "caption_size": 48, **options}
    )  # fmt: skip
