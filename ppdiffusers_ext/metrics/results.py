"""Evaluation of results that have no truth, by their reference pictures and the poses that drove them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ppdiffusers_ext.data.frames import resize
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.metrics.driving import check_length, read_driver
from ppdiffusers_ext.metrics.result_report import Driver, Networks, identity_of, measure
from ppdiffusers_ext.metrics.sources import Clip, companions, find_clips

_NO_DRIVER = "no driving poses are given; --driving-poses names them"

# key, title of its column, digits behind the point
COLUMNS = (
    ("csim", "csim", 3),
    ("csim_min", "csim min", 3),
    ("akd_pixels", "AKD px", 2),
    ("akd_of_body", "AKD/body", 4),
    ("mkr", "MKR", 4),
    ("pckh_0.5", "PCKh@0.5", 4),
    ("delta_e", "delta E", 2),
    ("delta_e_per_100_frames", "drift/100", 2),
    ("sharpness", "sharpness", 3),
    ("flicker_second_difference", "flicker", 3),
)


@dataclass(frozen=True)
class Item:
    """A result that is to be measured: its name in a table, the clip, and paths of what belongs to it."""

    name: str
    clip: Clip
    reference: Path
    driving_poses: Path | None = None


def find_items(
    results: str | os.PathLike, reference: str | os.PathLike, driving_poses: str | os.PathLike | None = None
) -> list[Item]:
    """The `Item`s of a video, a folder of frames or a folder of videos.

    Args:
        reference: a picture for all, or a folder with one for each result, of its name without suffix.
        driving_poses: so a JSON file, or a folder of them; None for none.

    Raises:
        MissingFileError, InputError: what is not there, cannot be read, or does not fit.
    """
    clips = find_clips(results)
    references = companions(reference, clips, "picture")
    poses = companions(driving_poses, clips, "driving poses") if driving_poses is not None else {}
    items = [Item(name, clip, references[name], poses.get(name)) for name, clip in clips.items()]
    for item in items:
        read_image(item.reference)
    for item in items if driving_poses is not None else ():
        _driver(item)
    return items


def evaluate_item(item: Item, open_networks: Callable[[int, int], Networks]) -> dict[str, Any]:
    """What `measure` says of an item, with what it was measured of.

    open_networks: called with width and height in pixels.
    """
    clip, driver = item.clip, _driver(item)
    reference = resize(np.asarray(read_image(item.reference)), clip.width, clip.height, "stretch")
    frames = tqdm(clip.frames(), desc=item.name, total=clip.num_frames, leave=False, disable=None)
    networks = open_networks(clip.width, clip.height)
    measures = measure(frames, reference, clip.num_frames, networks, driver)
    paths = {"result": clip.path, "reference": item.reference, "driving_poses": item.driving_poses}
    told = {name: None if path is None else str(path) for name, path in paths.items()}
    size = {"width": clip.width, "height": clip.height, "num_frames": clip.num_frames}
    return {"name": item.name, **told, **size, **measures.values}


def _driver(item: Item) -> Driver:
    if item.driving_poses is None:
        return Driver(reason=_NO_DRIVER)
    driver = read_driver(item.driving_poses)
    check_length(item.driving_poses, driver, item.clip.num_frames, item.clip.path)
    return driver.inside(item.clip.width, item.clip.height)


def key_numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Of what `measure` says, the numbers of `COLUMNS`."""
    _, identity = identity_of(values)
    faces, poses, colour = identity or {}, values["poses"] or {}, values["colour"]
    body = poses.get("body", {})
    return {
        "csim": faces.get("mean"),
        "csim_min": faces.get("min"),
        **{name: body.get(name) for name in ("akd_pixels", "akd_of_body", "mkr")},
        "pckh_0.5": poses.get("pckh_0.5"),
        **{name: colour[name] for name in ("delta_e", "delta_e_per_100_frames")},
        "sharpness": values["sharpness"]["mean"],
        "flicker_second_difference": values["flicker_second_difference"],
    }


def mean_numbers(results: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The mean of each of the `key_numbers` over the results that have it."""
    rows = [key_numbers(values) for values in results]
    means: dict[str, float | None] = {}
    for key, *_ in COLUMNS:
        known = [value for row in rows if (value := row[key]) is not None]
        means[key] = math.fsum(known) / len(known) if known else None
    return means


def to_json(results: Sequence[Mapping[str, Any]], per_frame: bool = False) -> str:
    """The JSON text of results: {"results": [...], "mean": {...}}; per_frame: also the numbers of every frame.

    Keys of the means that a network made name it.
    """
    means = mean_numbers(results)
    for old in ("csim", "csim_min"):
        name, _ = identity_of(results[0])
        means[old.replace("csim", name)] = means.pop(old)
    told = list(results) if per_frame else [_without_frames(values) for values in results]
    return json.dumps({"results": told, "mean": means}, indent=1, allow_nan=False) + "\n"


def _without_frames(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_frames(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if name != "frames"
    }
