"""What clients are told of: jobs, their events, and uploads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUEUED, RUNNING, DONE, FAILED, CANCELLED = STATES = ("queued", "running", "done", "failed", "cancelled")
ENDED = (DONE, FAILED, CANCELLED)


@dataclass(frozen=True)
class Upload:
    """A picture or a video that a client has sent.

    Attributes:
        id: cannot be guessed.
        name: as the client called it, bounded and printable; no file is called so.
        kind: "image" or "video"; a mask is one of them.
        bytes: size.
        width, height: pixels, upright.
        frames, seconds: of a video; 1 and None of a picture.
        fps: frames per second; None of a picture.
        has_audio: whether there is sound.
        created: `time.time()`.
    """

    id: str
    name: str
    kind: str
    bytes: int
    width: int
    height: int
    frames: int
    seconds: float | None
    fps: float | None
    has_audio: bool
    created: float


@dataclass(frozen=True)
class Job:
    """A job as a client sees it.

    Attributes:
        id: cannot be guessed.
        system: name of the system.
        options: as the client gave them, by names of the declaration.
        files: role -> id of an upload.
        state: one of `STATES`.
        progress: 0 to 1.
        stage: a word of what goes on: waiting, loading, poses, denoising, decoding, ended.
        seconds_left: predicted, or None.
        error: why it failed, in words and without paths of the server; None otherwise.
        position: in the queue, 0 is the next; None of one that does not wait.
        created, started, ended: `time.time()`; None for what has not been yet.
        plan: of memory, see `Jobs.plan`; None before it was made.
        results: names of what there is, see `Jobs.result`.
        code, values: of the error, where it has these; see `refusals`.
    """

    id: str
    system: str
    options: dict[str, Any]
    files: dict[str, str]
    state: str
    progress: float
    stage: str
    seconds_left: float | None
    error: str | None
    position: int | None
    created: float
    started: float | None
    ended: float | None
    plan: dict[str, Any] | None
    results: tuple[str, ...]
    code: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that became of a job.

    Attributes:
        number: from 1 on for each job; rising, with gaps: a later "progress" or "preview" replaces the one before.
        kind: "state" (data: state, error, position), "progress" (progress, stage, seconds_left), "preview" (step: a
            new `Jobs.result(id, "preview")`), "note" (text, code, values), "plan" (as `Job.plan`).
        data: what can be written as JSON.
    """

    number: int
    kind: str
    data: dict[str, Any]
