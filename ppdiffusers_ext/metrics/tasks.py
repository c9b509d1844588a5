"""What is computed of single clips in an evaluation by a protocol, each result in a file of its own.

The name of the file is the digest of all that the result depends on, so that a run that was stopped goes on, and what
was computed of a truth once serves every system that is compared with it. A task takes its clip a few frames at a
time, and does the same in whichever process it runs.
"""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.records import digest_of
from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.metrics.catalogue import METRICS
from ppdiffusers_ext.metrics.pairing import PairedMetrics
from ppdiffusers_ext.metrics.people import measure_person
from ppdiffusers_ext.metrics.preparing import prepared_frames, prepared_pairs
from ppdiffusers_ext.metrics.protocol import Frames, Protocol, Windows
from ppdiffusers_ext.metrics.result_report import Networks
from ppdiffusers_ext.metrics.sources import Clip

logger = logging.getLogger(__name__)

PAIRED, PERSON, FEATURES = "paired", "person", "features"
_FORMAT = 1  # of the files; a new one when what is computed changes
# Name of a csim -> a function of width and height that opens what it needs; see `result_report.Networks`.
Openers = dict[str, Callable[[int, int], Networks]]


@dataclass(frozen=True)
class Weights:
    """Where the networks are.

    Attributes:
        folder: of all weights.
        digests: of each network its name, and the path and SHA-256 of each of its files.
        engine: that runs them.
    """

    folder: str
    digests: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    engine: str = ""


@dataclass(frozen=True)
class Task:
    """One result of a clip.

    Attributes:
        kind: "paired" and "person" take the prediction and the truth, "features" one of the two.
        name, side: of the clip; the side is "prediction" or "truth".
        clips: that it reads.
        frames: what is done with the frames of each.
        count: of frames, from the first on.
        metrics: names of what is computed; of "features" the name of the distance.
        key: name of the file, see `make_task`.
    """

    kind: str
    name: str
    side: str
    clips: tuple[Clip, ...]
    frames: tuple[Frames, ...]
    count: int
    metrics: tuple[str, ...]
    protocol: Protocol
    weights: Weights
    key: str = ""

    @property
    def file(self) -> str:
        return f"{self.key}.{'npy' if self.kind == FEATURES else 'json'}"


def make_task(
    kind: str,
    name: str,
    sides: dict[str, tuple[Clip, Frames, str]],
    count: int,
    metrics: Sequence[str],
    protocol: Protocol,
    weights: Weights,
) -> Task:
    """A `Task` with its key.

    sides: "prediction", "truth" or both -> the clip, what is done with its frames, and the digest of its content.
    """
    digests = dict(weights.digests)
    windows = protocol.distributions[metrics[0]] if kind == FEATURES else None
    used = [windows.network] if windows else [METRICS[name].network for name in metrics]
    networks = {name: digests[name] for name in used if name}
    depends: dict[str, Any] = {
        "format": _FORMAT,
        "kind": kind,
        "clips": [digest for *_, digest in sides.values()],
        "frames": [asdict(each) for _, each, _ in sides.values()],
        "to the true size": None if kind == FEATURES else protocol.prediction.filter,
        "count": count,
        "metrics": list(metrics),
        "networks": networks,
        "engine": weights.engine if networks else "",
        "windows": asdict(windows) if windows else None,
    }
    clips, frames, _ = zip(*sides.values())
    key, side = digest_of(depends), "+".join(sides)
    return Task(kind, name, side, clips, frames, count, tuple(metrics), protocol, weights, key)


def run_tasks(tasks: Sequence[Task], folder: Path, openers: Openers, workers: int = 1) -> None:
    """Write the files of the tasks that are not in a folder yet.

    Args:
        folder: there.
        openers: by csim; they and their arguments go to other processes.
        workers: processes; with 1 the work is done in this one. Results do not depend on it.

    Raises:
        InputError: a frame cannot be read, or weights do not fit; the files that are complete stay.
    """
    waiting = {task.key: task for task in tasks if not _is_there(task, folder)}
    if workers > 1 and len(waiting) > 1:
        _run_apart(list(waiting.values()), folder, openers, min(workers, len(waiting)))
        return
    for task in tqdm(waiting.values(), unit="part", disable=None):
        run_task(task, folder, openers)


def _is_there(task: Task, folder: Path) -> bool:
    """Whether the file of a task is there and holds what the task makes; another one is made again."""
    path = folder / task.file
    if not path.is_file():
        return False
    try:
        if task.kind == FEATURES:
            rows = read_features(task, folder)
            number = task.protocol.distributions[task.metrics[0]].count(task.count)
            sound = rows.ndim == 2 and len(rows) == number and bool(np.isfinite(rows).all())
        else:
            _check_values(task, read_values(task, folder))
            sound = True
    except (OSError, EOFError, ValueError, TypeError, LookupError):
        sound = False
    if not sound:
        logger.warning("%s is damaged, and is made again", shown_path(path))
    return sound


def _check_values(task: Task, values: dict[str, Any]) -> None:
    """Raises ValueError, TypeError or LookupError for what is no result of a task of pairs or of persons."""
    if task.kind == PAIRED:
        if set(values) != set(task.metrics) or any(len(values[name]) != task.count for name in task.metrics):
            raise ValueError(task.file)
        numbers = [number for name in task.metrics for number in values[name]]
    else:
        numbers = [values["numbers"][name] for name in task.metrics]
        for key in ("frames", "reasons", "frames_without_face"):
            dict(values[key])
    for number in numbers:
        if number is not None:
            float(number)


def _run_apart(tasks: Sequence[Task], folder: Path, openers: Openers, workers: int) -> None:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run_task, task, folder, openers) for task in tasks]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), unit="part", disable=None):
                future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {workers} workers was killed, as happens where memory runs out; fewer --workers are accepted"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def run_task(task: Task, folder: Path, openers: Openers) -> None:
    """Write the file of a task, complete or not at all."""
    with output_file(folder / task.file) as temporary:
        if task.kind == FEATURES:
            _write_features(task, Path(temporary))
        else:
            values = _paired(task) if task.kind == PAIRED else _person(task, openers)
            Path(temporary).write_text(json.dumps(values, allow_nan=False), encoding="utf-8")


def read_values(task: Task, folder: Path) -> dict[str, Any]:
    """What is in the file of a task of pairs, or of persons."""
    values = json.loads((folder / task.file).read_text(encoding="utf-8"))
    return dict(values)


def read_features(task: Task, folder: Path) -> np.ndarray:
    """(windows, n), of the file of a task of features; it is not read into memory at once."""
    return np.load(folder / task.file, mmap_mode="r", allow_pickle=False)


def _paired(task: Task) -> dict[str, list[float | None]]:
    """Each metric of each frame."""
    prediction, truth = task.clips
    metrics = PairedMetrics(task.metrics, functools.partial(open_once, task.weights.folder, task.weights.engine))
    for one, other in prepared_pairs(prediction, truth, task.protocol, task.count):
        metrics.add(one, other)
    return metrics.frames


def _person(task: Task, openers: Openers) -> dict[str, Any]:
    prediction, truth = task.clips
    return measure_person(prediction, truth, task.protocol, task.count, task.metrics, openers)


def _write_features(task: Task, path: Path) -> None:
    (name,), (clip,) = task.metrics, task.clips
    windows = task.protocol.distributions[name]
    features = open_features(windows.network, windows.preparation, task.weights.folder, task.weights.engine)
    frames = prepared_frames(clip, task.frames[0], task.count)
    header = {"descr": "<f4", "fortran_order": False, "shape": (windows.count(task.count), features.size)}
    with open(path, "wb") as file:  # not a map of a file: a disk that is full would end the process
        np.lib.format.write_array_header_1_0(file, header)
        for values in feature_rows(features, frames, windows):
            file.write(values.astype("<f4").tobytes())


def feature_rows(features: Any, frames: Iterable[np.ndarray], windows: Windows) -> Iterator[np.ndarray]:
    """The features of each run of frames, (n,): by `PictureFeatures` or `ClipFeatures`, which prepare a frame once."""
    if windows.clip_length == 1:
        for frame in islice(frames, 0, None, windows.stride):
            yield features([frame])[0]
        return
    for clip in clip_windows(map(features.prepare, frames), windows):
        yield features.of_prepared(clip)


def clip_windows(frames: Iterable[np.ndarray], windows: Windows) -> Iterator[np.ndarray]:
    """(T, ...) runs of successive frames, prepared or not, of which as many are held."""
    held: deque[np.ndarray] = deque(maxlen=windows.clip_length)
    for number, frame in enumerate(frames):
        held.append(frame)
        start = number - windows.clip_length + 1
        if start >= 0 and start % windows.stride == 0:
            yield np.stack(held)


@functools.cache
def open_once(folder: str, engine: str, name: str) -> Any:
    """A network, opened once in each process."""
    from ppdiffusers_ext.metrics.networks import open_network

    return open_network(name, folder, engine)


@functools.cache
def open_features(network: str, preparation: str, folder: str, engine: str) -> Any:
    """The `PictureFeatures` or `ClipFeatures` of a network, opened once in each process."""
    from ppdiffusers_ext.metrics.distribution import ClipFeatures, PictureFeatures

    opened = open_once(folder, engine, network)
    return ClipFeatures(opened, preparation) if preparation else PictureFeatures(opened)
