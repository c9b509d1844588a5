"""Why the server refuses what a client asks for, as errors: in words that a client is told, and as a code with values.

The words are English. The page has them in its other languages, by the code: texts/zh.json has a text
`refusal.CODE` for each code here, with places for values. What the library itself refuses has words alone.
"""

from collections.abc import Mapping
from typing import Any

from ppdiffusers_ext.errors import InputError, MissingFileError

_MEDIA = "a picture (PNG, JPEG, WebP ...) or a video (MP4, MOV, WebM, MKV, GIF) is accepted"

# Code -> English words: what is wrong; what would be accepted.
WORDS = {
    "bytes": "{name} is too large; up to {most:,.0f} MB are accepted",
    "pixels": "{name} has {width}x{height} pixels; up to {most:,} of a {kind} are accepted",
    "seconds": "{name} lasts {seconds:.0f} seconds; up to {most:g} are accepted",
    "frames": "{name} has {frames:,} frames; up to {most:,} are accepted",
    "request": "the request is too large; up to {most:,} bytes are accepted",
    "text": "{option} is too long; up to {most:,} bytes are accepted",
    "options": "the options are too long; up to {most:,} characters are accepted",
    "base64": "the result is too large for base64; GET {name} is accepted",
    "media.empty": "{name} is empty; a picture or a video is accepted",
    "media.slow": f"{{name}} takes too long to be read; {_MEDIA}",
    "media.limits": f"{{name}} cannot be read within the limits of time and memory; {_MEDIA}",
    "media": f"{{name}} {{found}}; {_MEDIA}",
    "probe": "uploads cannot be looked at now; the same later is accepted",
    "room": "the data folder is full; fewer uploads and results, or the same when old jobs were removed, are accepted",
    "room.job": "the data folder has no room for what the job writes; fewer frames, a smaller size, or the same when "
    "old jobs were removed, are accepted",
    "disk": "{name} cannot be stored: {reason}; the same later is accepted",
    "upload": "there is no upload {id}; the id of one that is there is accepted",
    "upload.gone": "there is no upload {id} any more; a new upload is accepted",
    "upload.file": "the file of this upload is gone; a new upload is accepted",
    "job": "there is no job {id}; the id of one that is there is accepted",
    "job.ended": "the job is {state}; one that has ended is accepted",
    "result": "the job has no {name}; there is {there}",
    "result.gone": "the results of this job were removed; the same job again is accepted",
    "page": "the page has no file {name}; those that / names are accepted",
    "queue": "{count} jobs wait already, as many as may; the same later is accepted",
    "busy.answers": "too many ask for previews and plans at once; the same later is accepted",
    "busy.uploads": "too many uploads come at once; the same later is accepted",
    "busy.events": "too many follow jobs at once; the same later, or GET /jobs/ID, is accepted",
    "busy.jobs": "too many wait for jobs at once; the same later is accepted",
    "stopping": "the server is being stopped; another one is accepted",
    "adviser": "{words}; the same later is accepted",
    "role.kind": "{role} is a {given}; a {accepted} is accepted",
    "role.missing": "{roles} is missing; {accepted} is accepted",
    "role.none": "there are no files; {accepted} is accepted",
    "role.together": "{roles} do not belong together; {accepted} is accepted",
    "model": "model {name} of {system} is not known; {near}",
    "model.missing": "{words}",
    "model.demo": "the small model {model} of {system} does not ship with this package; another model is accepted",
    "lora": "LoRA {name} is not known; {near}",
    "frame": "frame is {frame}; a number from 0 to {last} is accepted",
    "person": "there is no person {person}; a number from 0 to {last} is accepted",
    "alignment": "{mode} has no alignment to show; reference_image with driving_video is accepted",
    "memory": "{words}; a smaller size or fewer frames are accepted",
    "memory.rung": "{words}; memory {rung} is accepted",
    "memory.out": "the memory does not suffice; a smaller size, fewer frames or a lower memory option may do",
    "files": "a file cannot be used: {reason}; the same later is accepted",
    "program": "the program failed ({kind}); the server's log has more",
    "again": "while the job ran, {words}: it is run again",
    "twice": "while the job ran, {words}, for the second time; a smaller size, fewer frames or a lower memory option "
    "may do",
    # Of options, whose words are the declarations' own.
    "option.int": "{words}",
    "option.float": "{words}",
    "option.bool": "{words}",
    "option.str": "{words}",
    "option.list": "{words}",
    "option.choice": "{words}",
    # Of requests that the guard refuses, by their status: its words.
    "token": "{words}",
    "origin": "{words}",
}
# Why a run was cut off -> English words, for "again" and "twice", and why the adviser does not answer.
REASONS = {
    "silent": "the worker answers no more",
    "killed": "the worker was killed, as the system does where memory runs out",
    "crashed": "the worker crashed ({signal})",
    "ended": "the worker ended; the server's log has more",
    "start": "the worker did not start",
    "slow": "the answer takes too long",
    "server": "the server ended",
    "astray": "the server could not go on",
    "stopped": "the server was stopped",
}


def reason(why: str, **values: str) -> dict[str, str]:
    """Why a run was cut off, as the values of a `Refusal`: `why` is one of `REASONS`."""
    return {"why": why, "words": REASONS[why].format(**values), **values}


class Refusal(InputError):
    """Something that a client asks for and cannot have.

    Args:
        code: of `WORDS`.
        in_words: the words; those of `WORDS` with the values in their places if left out.
        values: what its words have places for, and what the page needs beside: what JSON can have. `words` are not
            told beside the words themselves.

    Attributes:
        code, values: of it.
    """

    def __init__(self, code: str, in_words: str | None = None, **values: Any) -> None:
        places = {name: _in_words(value) for name, value in values.items()}
        super().__init__(WORDS[code].format(**places) if in_words is None else in_words)
        self.code = code
        self.values = {name: value for name, value in values.items() if name != "words"}

    @classmethod
    def told(cls, words: str, code: str | None, values: Mapping[str, Any]) -> "InputError":
        """A refusal in words that are there already: of another process, or without what a client is not told."""
        return InputError(words) if code is None else cls(code, words, **values)


def _in_words(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


class NotFound(Refusal):
    """There is no such job, upload or result."""


class NotReady(Refusal):
    """The job has not come so far that there would be what is asked for, or has ended."""


class NoWeights(Refusal, MissingFileError):
    """The weights of a model are not there."""


class TooLarge(Refusal):
    """An upload has more bytes, pixels, frames or seconds than are accepted."""


class NotMedia(Refusal):
    """An upload is no picture and no video."""


class TooMany(Refusal):
    """The queue is full."""


class NoRoom(Refusal):
    """The data folder has no room left, of its quota or on the disk."""


class Unavailable(Refusal):
    """The worker, or whatever it needs, is not there; to be asked again later."""


def facts_of(error: BaseException) -> dict[str, Any]:
    """The code and the values of an error, {"code", "values"}; nothing of one that has words alone."""
    if isinstance(error, Refusal):
        return {"code": error.code, "values": error.values}
    if isinstance(error, InputError):
        return {}
    if isinstance(error, MemoryError):
        return {"code": "memory.out", "values": {}}
    if isinstance(error, OSError):
        return {"code": "files", "values": {"reason": error.strerror or type(error).__name__}}
    return {"code": "program", "values": {"kind": type(error).__name__}}
