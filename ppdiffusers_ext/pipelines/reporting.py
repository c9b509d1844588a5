"""Reports of results: what a run was asked for and took, and what is measured of what it wrote; see `metrics`.

A report is an HTML page and the same numbers as JSON, beside the result, which is read back a few frames at a time.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import itertools
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.data.frames import FrameSource, open_frames, placed, poses_path
from ppdiffusers_ext.data.outputs import output_file, report_paths
from ppdiffusers_ext.data.skeletons import VISIBLE, Pose
from ppdiffusers_ext.environment import peak_memory
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.driving import check_length, read_driver
from ppdiffusers_ext.metrics.page import result_page
from ppdiffusers_ext.metrics.poses import Points
from ppdiffusers_ext.metrics.result_report import Driver, Estimate, Measures, Networks, measure
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.pipelines.watching import MEASURING, current_watch
from ppdiffusers_ext.preprocess.estimators import EMBEDDED, Estimator, open_estimator
from ppdiffusers_ext.preprocess.face_embedding import ARCFACE, ARCFACE_CHECKPOINT, ArcFace, MobileFace
from ppdiffusers_ext.version import __version__

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.options import PoseOptions

logger = logging.getLogger(__name__)

OF_DRAWINGS = (
    "the pose video is a drawing, whose joints are not known; scripts.vid2pose and scripts.skeleton_extraction write "
    "them beside it with --save-poses, --driving-poses names another file, and scripts.animate estimates them itself"
)
OF_TEXTS = "no poses drive this system"
# Networks of metrics that are not of `metrics.networks`: name -> file in the folder of weights, and its checkpoint.
OTHER_WEIGHTS = {ArcFace.name: (ARCFACE, ARCFACE_CHECKPOINT)}
_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "ppdiffusers", "paddlenlp", "numpy", "onnxruntime", "openvino", "av")
# Options that say nothing of a result.
_UNTOLD = frozenset(("overwrite", "skip_existing", "report", "ignore_memory", "engine_cache", "test_cases"))


class ResultReport:
    """Report of one result; the run that makes the result tells it of its stages.

    Args:
        command: its name.
        options: dataclasses of options; of two with the same name, that of the later one counts.
        estimator: of poses; see `open_networks`.
        driver: the poses that drove the result.
        seconds: of stages before.

    Attributes:
        seed: of the noise, once it is known.
        seconds: of each stage.
    """

    def __init__(
        self,
        command: str,
        *options: Any,
        estimator: Estimator | None = None,
        driver: Driver | None = None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        self._command, self._options, self._estimator = command, options, estimator
        self._driver, self.seconds = driver or Driver(), dict(seconds or {})
        self.seed: int | None = None

    def measure(self, result: str | os.PathLike, reference: np.ndarray | None, reference_name: str) -> Measures:
        """Measure a result.

        Args:
            result: path of the video, the picture or the folder of pictures.
            reference: picture of its size, (H, W, 3) uint8, or None: its first frame is taken.
            reference_name: what the picture is.
        """
        current_watch().stage(MEASURING, 1)
        with stopwatch(self.seconds, "measuring"):
            source = open_frames(result)
            if reference is None:
                reference, reference_name = next(source.read(0, 1)), "first frame of the result"
            networks, driver = open_networks(source.width, source.height, self._estimator), self._driver
            if driver.poses is not None and len(driver.poses) != source.num_frames:
                driver = Driver(
                    reason=f"{source.num_frames} frames were written for {len(driver.poses)} driving poses"
                )
            measures = measure(source, reference, source.num_frames, networks, driver)
        head = {"reference": reference_name, "num_frames": source.num_frames, "fps": float(source.fps)}
        head |= {"width": source.width, "height": source.height}
        return dataclasses.replace(measures, values=head | measures.values)

    def write(self, result: str | os.PathLike, measures: Measures) -> None:
        """Write the JSON and the page of a measured result."""
        told = {"result": Path(result).name, **self._run()}
        page, numbers = report_paths(result)
        text = json.dumps({**told, **measures.values}, indent=1, allow_nan=False) + "\n"
        for path, content in ((numbers, text), (page, result_page(measures, told))):
            with output_file(path) as temporary:
                Path(temporary).write_text(content, encoding="utf-8")

    def _run(self) -> dict[str, Any]:
        options = {
            item.name: _plain(getattr(each, item.name))
            for each in self._options
            for item in dataclasses.fields(each)
            if item.name not in _UNTOLD and getattr(each, item.name) is not None
        }
        import paddle  # not at the top: an evaluation needs none

        on_gpu = paddle.device.get_device().startswith("gpu")
        return {
            "command": self._command,
            "seed": self.seed,
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "peak_memory_bytes": peak_memory(),
            "peak_gpu_memory_bytes": paddle.device.cuda.max_memory_allocated() if on_gpu else None,
            "versions": versions(),
            "options": options if self.seed is None else {**options, "seed": self.seed},
        }


def timed(report: ResultReport | None, stage: str) -> Any:
    """A context in which seconds count for a stage of a report, if there is one."""
    return contextlib.nullcontext() if report is None else stopwatch(report.seconds, stage)


@contextlib.contextmanager
def stopwatch(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Within it, seconds count for a stage."""
    start = time.monotonic()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - start


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of the packages beside it that are installed."""
    found = {"ppdiffusers_ext": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def open_networks(
    width: int, height: int, estimator: Estimator | None = None, arcface_weights: str | None = None
) -> Networks:
    """The `Networks` that measure frames of a size (pixels): what cannot be opened is missing, for its reason.

    Args:
        estimator: of poses; the one that ships with the package if left out.
        arcface_weights: folder of fetched weights, to identify faces by `ArcFace` instead of `MobileFace`.
    """
    found: dict[str, Any] = {}
    try:
        found["faces"] = _open_embedder() if arcface_weights is None else _open_arcface(arcface_weights)
    except InputError as error:
        found["no_faces"] = str(error)
    try:
        estimator = estimator or _open_embedded()
    except InputError as error:
        return Networks(**found, no_people=str(error))
    return Networks(make_estimate(estimator, width, height), estimator.name, **found)


def make_openers(weights: str) -> dict[str, Callable[[int, int], Networks]]:
    """What opens the networks that find and identify people, by the name of the csim; functions of width and height.

    weights: folder of fetched weights.
    """
    return {
        f"csim_{MobileFace.name}": open_networks,
        f"csim_{ArcFace.name}": functools.partial(open_networks, arcface_weights=weights),
    }


@functools.cache
def _open_embedder() -> MobileFace:
    return MobileFace()


@functools.cache
def _open_arcface(weights: str) -> ArcFace:
    return ArcFace(weights)


@functools.cache
def _open_embedded() -> Estimator:
    return open_estimator(EMBEDDED)


def make_estimate(estimator: Estimator, width: int, height: int) -> Estimate:
    """An estimator of poses as one of people in pixels, for frames of a size."""

    def estimate(frames: Iterable[np.ndarray]) -> Iterator[Sequence[Points]]:
        return (points_of(pose, width, height) for pose in estimator(frames))

    return estimate


def points_of(pose: Pose, width: int, height: int) -> list[Points]:
    """The people of a `Pose` in pixels of a frame."""
    size = np.array([width, height])
    return [
        Points(
            np.concatenate([pose.body[i], pose.hands[i].reshape(-1, 2), pose.face[i]]) * size,
            np.concatenate([pose.body_scores[i], pose.hands_scores[i].ravel(), pose.face_scores[i]]) > VISIBLE,
        )
        for i in range(len(pose))
    ]


def driver_of(
    poses: Iterable[Pose], width: int, height: int, estimator: str, has_hands: bool = True, has_face: bool = True
) -> Driver:
    """The `Driver` of the poses of one person or nobody in each frame, as far as they are drawn in the picture.

    Args:
        width, height: of the frames in pixels.
        estimator: name of what estimated the poses.
        has_hands, has_face: whether these are drawn.
    """
    drawn = np.concatenate([np.ones(18, bool), np.full(42, has_hands), np.full(68, has_face)])
    driving: list[Points | None] = []
    for pose in poses:
        people = points_of(pose, width, height)
        if not people:
            driving.append(None)
            continue
        driving.append(dataclasses.replace(people[0], seen=people[0].seen & drawn))
    return Driver(driving, estimator).inside(width, height)


def driver_of_drawing(
    config: "PoseOptions", drawing: str | os.PathLike, source: FrameSource, num_frames: int, way: str
) -> Driver:
    """The `Driver` of a result that is driven by a drawing: its poses are in a file that options name, or beside it.

    Args:
        config: options, with the size of the result.
        drawing: path of the pose video, the folder of pose pictures or the pose picture.
        source: of the drawing, all of it.
        num_frames: that are animated.
        way: in which the drawing gets the result's size; see `data.frames.resize`.

    Raises:
        MissingFileError, InputError: the file that is named cannot be used. One that is only found is a reason.
    """
    found = None if config.driving_poses is None else Path(config.driving_poses)
    if found is None:
        place = os.path.abspath(located(drawing))
        found = poses_path(place, os.path.isdir(place))
        if not os.path.lexists(found):
            return Driver(reason=OF_DRAWINGS)
    try:
        driver = read_driver(found)
        check_length(found, driver, source.num_frames, drawing)
    except InputError as error:
        if config.driving_poses is not None:
            raise
        logger.warning("pose errors will not be measured: %s", error)
        return Driver(reason=str(error))
    (width, height), corner = placed(source.width, source.height, config.width, config.height, way)
    scale = np.array([width / source.width, height / source.height])
    moved = [None if one is None else one.moved(scale, np.array(corner)) for one in driver.poses or ()]
    shown = list(itertools.islice(source.at_rate(moved, source.fps), num_frames))
    return dataclasses.replace(driver, poses=shown, path=found).inside(config.width, config.height)


def _plain(value: Any) -> Any:
    """What JSON can write of an option's value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, str)) else _number_or_text(value)


def _number_or_text(value: Any) -> Any:
    return value if isinstance(value, float) and np.isfinite(value) else str(value)
