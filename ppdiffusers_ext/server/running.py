"""What the worker does: runs, and plans of memory. Imports Paddle. `previews` has people in pictures."""

import functools
import html
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.holding import releasing
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines import registry
from ppdiffusers_ext.pipelines.animation import Animator
from ppdiffusers_ext.pipelines.memory_plan import available_memory
from ppdiffusers_ext.pipelines.warm import WarmPipeline
from ppdiffusers_ext.pipelines.watching import POSES, Watch, told, watched_by
from ppdiffusers_ext.preprocess import estimators, extraction
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.server.execution import Task
from ppdiffusers_ext.server.refusals import Refusal, facts_of

# Ending of a file's name -> what a client calls it. What a run writes into the folder of its job is one of these.
_RESULTS = {
    "result.mp4": "result",
    "result.png": "result",
    "animated_images.mp4": "result",
    "side_by_side.mp4": "side_by_side",
    "side_by_side.png": "side_by_side",
    "sheet.png": "sheet",
    "report.json": "report",
    "report.html": "report_page",
    "animated_images.gif": "gif",
    "faces.json": "faces",
    "face_optimization.json": "faces",
    "identity.json": "identity",
    "preview.png": "preview",
}


class Runner:
    """Runs tasks one after the other, and keeps what the last one has loaded."""

    def __init__(self) -> None:
        self._warm = WarmPipeline()

    def run(self, task: Task, folder: Path, watch: Watch) -> dict[str, str]:
        """Run a task: name of each result -> of its file in the folder.

        Args:
            task: a `Task`, whose outputs are in `folder`.
            folder: of its job, which may have what an earlier attempt has left.
            watch: what is told of it.

        Raises:
            InputError, MissingFileError: what the commands raise.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if "result" not in results_in(folder):
            _remove_partial(folder)
        with releasing(), watched_by(watch), self._warm.used():
            if task.animation is not None:
                self._animate(task)
            else:
                registry.RUNS[task.mode.system](task.config, task.mode.name)
        found = results_in(folder)
        if "result" not in found:
            raise InputError("the run has written no result; the same again is accepted")
        _name_files_alone([folder / name for name in found.values() if name.endswith((".json", ".html"))])
        return found

    def free(self) -> None:
        """Give up what is kept."""
        self._warm.free()

    def _animate(self, task: Task) -> None:
        """What `scripts.animate` does with one job."""
        job, config = task.animation, task.config
        assert job is not None
        animator = animator_of(task)
        inputs = animator.open(job)
        held = animator.hold([job], config.overwrite, config.skip_existing)
        if held.missing:
            with held.recorded():
                animator.run(job, inputs)


def animator_of(task: Task) -> Animator:
    """The `Animator` of a task with a driving video, as `scripts.animate` makes it."""
    config, drawing = task.config, task.drawing
    system = registry.SYSTEMS[task.mode.system](config, show_progress=False)
    device = Runtime.choose(system.device, system.dtype, system.engine).place.partition(":")[0]
    style = extraction.style_of(system.style, not drawing.no_hands, not drawing.no_face)
    open_estimator = functools.partial(opened_estimator, drawing.poses, system.channels, device)
    networks = estimators.estimator_files(drawing.poses)
    return Animator(system, open_estimator, style, _in_poses, config.num_frames, networks=networks)


def _in_poses(frames: Iterable, count: int) -> Iterable:
    return told(frames, POSES, count)


@functools.lru_cache(maxsize=1)
def opened_estimator(poses: str, channels: str, device: str) -> "estimators.Estimator":
    """The networks that find people, opened once."""
    return estimators.open_estimator(poses, None, device, channels)


def results_in(folder: Path) -> dict[str, str]:
    """Name of each result in a job's folder -> of its file."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    found: dict[str, str] = {}
    for ending, result in _RESULTS.items():
        for name in names:
            if name == ending or name.endswith(f"_{ending}"):
                found.setdefault(result, name)
    return found


def _name_files_alone(files: list[Path]) -> None:
    """Have reports, which clients read, say of files on this machine no more than their names."""
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    paths = {each for path, text in texts.items() if path.suffix == ".json" for each in _paths_in(json.loads(text))}
    for file, text in texts.items():
        told = html.escape if file.suffix == ".html" else lambda words: json.dumps(words)[1:-1]
        for path in sorted(paths, key=len, reverse=True):
            text = text.replace(told(path), told(Path(path).name))
        if text != texts[file]:
            with output_file(file) as temporary:
                Path(temporary).write_text(text, encoding="utf-8")


def _paths_in(value: Any) -> Iterator[str]:
    """The absolute paths in what a JSON file has: of what is there, for a text of a client may begin with a slash."""
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _paths_in(each)
    elif isinstance(value, str) and len(Path(value).parts) > 2 and os.path.isabs(value) and os.path.exists(value):
        yield value


def _remove_partial(folder: Path) -> None:
    """Remove what lies beside a result that is not there; hidden is what the run goes on with."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def num_frames_of(task: Task) -> int:
    """How many frames a task makes, as far as that can be told without opening its files."""
    config, most = task.config, task.config.num_frames
    file = task.files.get(task.mode.name)
    if file is None:
        return most or config.context_frames
    job = task.animation
    first, count = 0, file.frames
    if job is not None and job.frames:
        start, _, end = job.frames.partition(":")
        first, last = (int(word) if word.isdigit() else default for word, default in ((start, 0), (end, count)))
        count = max(min(last, count) - first, 1)
    count = min(count, most) if most else count
    fps = None if job is None else job.fps
    return max(1, round(count * fps / file.fps)) if fps and file.fps else count


def work_of(task: Task) -> tuple[str, float]:
    """What kind of work a task is, and how much of it: the time of the same kind is proportional to it."""
    config, frames = task.config, num_frames_of(task)
    calls = config.num_inference_steps * (2 if config.guidance_scale > 1 else 1)
    device = Runtime.choose(config.device, config.dtype, config.engine).place
    words = (task.mode.system, task.mode.name, task.model.name, device, config.dtype, config.engine, config.preset)
    return " ".join(words), float(frames) * config.width * config.height * calls


def plan(task: Task, others: int) -> dict[str, Any]:
    """See `Jobs.plan`; without its seconds, but with `kind` and `amount` of `work_of`.

    Args:
        task: a `Task`.
        others: bytes that the worker has, which it frees or uses for the task.
    """
    frames = num_frames_of(task)
    config = replace(task.config, num_frames=frames)
    system = registry.SYSTEMS[task.mode.system](config)
    runtime = Runtime.choose(system.device, system.dtype, system.engine)
    plans = {each.rung: each for each in system.plan(runtime)[0]}
    chosen, available = plans[config.memory], available_memory() + others
    fits = chosen.host <= available
    lower = list(plans)[list(plans).index(config.memory) + 1 :]
    fitting = next((name for name in lower if plans[name].host <= available), None)
    words = f"{chosen}, and {available / 1e9:.1f} GB are free"
    values = {"needed": round(chosen.host / 1e9, 1), "free": round(available / 1e9, 1)}
    if fitting:
        why = Refusal("memory.rung", words=words, rung=fitting, **values)
    else:
        why = Refusal("memory", words=words, **values)
    kind, amount = work_of(task)
    return {
        "rung": chosen.rung,
        "peak_bytes": chosen.host,
        "device_bytes": chosen.device,
        "available_bytes": available,
        "frames": frames,
        "width": config.width,
        "height": config.height,
        "fits": fits,
        "why": None if fits else str(why),
        **({} if fits else facts_of(why)),
        "kind": kind,
        "amount": amount,
    }
