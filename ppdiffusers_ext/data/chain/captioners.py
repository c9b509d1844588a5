"""Who captions clips: a server that sees their frames, a file of its answers, or whoever wrote captions before.

The request is that of OpenAI's protocol for pictures, which vLLM, SGLang, lmdeploy and llama.cpp's server take: frames
as JPEG, each after its number, and the question. The original (aigc-apps/EasyAnimate, `easyanimate/video_caption`)
runs VILA or InternVL2 in its own process, with the same eight frames.
"""

import base64
import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ppdiffusers_ext.chat.client import Client, Server, ServerDownError
from ppdiffusers_ext.chat.replies import usable_text
from ppdiffusers_ext.data.chain.answers import KeptAnswers, read_answers
from ppdiffusers_ext.data.chain.caption_options import Source
from ppdiffusers_ext.data.chain.steps import Columns, Place, Row, StopRun
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.errors import InputError, MissingFileError, counted, shown, shown_path
from ppdiffusers_ext.files import read_text

_MOST_TEXT = 1 << 20  # bytes of a file beside a clip


class Captioner(Protocol):
    """Captions clips."""

    def caption(self, row: Row, place: Place) -> Columns:
        """Columns of a clip: `caption`, and what it depends on.

        Raises:
            InputError: there is no caption, for a reason.
            StopRun: there will be none for the others either.
        """

    def summary(self) -> list[str]:
        """What was asked so far."""


def open_captioner(source: Source, options: Any, place: Place) -> Captioner:
    """The captioner that options ask for, which have the fields of `CaptionOptions`."""
    if source.server is not None:
        return ChatCaptioner(source.server, options, place)
    if source.is_replay:
        assert source.file is not None
        return Replay(source.file)
    return Given(source.file)


def choose_frames(num_frames: int, count: int) -> list[int]:
    """Indices of `count` frames at equal distances from the first on, as the original; fewer of a shorter clip."""
    return sorted({int(index) for index in np.linspace(0, num_frames, count, endpoint=False)})


def as_jpeg(frame: np.ndarray, size: int, quality: int) -> bytes:
    """A frame as JPEG, made smaller where a side is longer than `size` pixels.

    Args:
        frame: (height, width, 3) uint8 RGB.
    """
    image, buffer = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def question(pictures: Sequence[bytes], prompt: str) -> list[dict[str, Any]]:
    """The chat that asks about some pictures in JPEG."""
    content: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, 1):
        url = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        content += [{"type": "text", "text": f"Frame{number}:"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]


class ChatCaptioner:
    """A server that sees frames. Its answers are kept below the folder of the run.

    Args:
        server: to be asked.
        options: the fields of `CaptionOptions`.
        place: of the run.
    """

    def __init__(self, server: Server, options: Any, place: Place) -> None:
        self._client, self._kept, self._options = Client(server), KeptAnswers(place.output), options
        self._reused, self._lock = 0, threading.Lock()

    def caption(self, row: Row, place: Place) -> Columns:
        path, options = place.file_of(row), self._options
        asked = {"clip": digest(path), "model": self._client.server.model, **caption_settings(options)}
        answer = self._kept.get(asked)
        if answer is None:
            answer = self._ask(path)
            self._kept.put(asked, answer)
        else:
            with self._lock:
                self._reused += 1
        return {
            "caption": answer,
            "caption_model": self._client.server.model,
            "caption_temperature": options.caption_temperature,
            "caption_seed": options.caption_seed,
        }

    def _ask(self, path: Path) -> str:
        options, reader = self._options, FrameReader(path)
        chosen = choose_frames(len(reader), options.caption_frames)
        pictures = [
            as_jpeg(frame, options.caption_size, options.caption_quality) for _, frame in reader.stream(chosen)
        ]
        messages = question(pictures, options.caption_prompt)
        try:
            return self._client.ask(
                messages, options.caption_temperature, options.caption_tokens, options.caption_seed
            ).text
        except ServerDownError as error:
            raise StopRun(
                f"the server of --captioner does not answer: {error}, and then --retry-failed goes on"
            ) from None

    def summary(self) -> list[str]:
        kept = f"{counted(self._reused, 'answer')} of earlier runs"
        return [f"captions: {self._client.usage.told(self._options.price_in, self._options.price_out)}; {kept}"]


def caption_settings(options: Any) -> dict[str, Any]:
    """The options that a server's caption depends on."""
    names = ("prompt", "frames", "size", "quality", "tokens", "temperature", "seed")
    return {name: getattr(options, f"caption_{name}") for name in names}


class Replay:
    """Answers of a file, for tests and for whoever has asked a model in another way.

    Args:
        path: of the file: rows of a clip's key and an answer.

    Raises:
        MissingFileError, InputError: it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path, self._answers = path, read_answers(path, "file of answers")

    def answer(self, key: str) -> str:
        """The answer for a key. Raises InputError where the file has none."""
        if key not in self._answers:
            raise InputError(f"there is no answer for {shown(key)} in {shown_path(self._path)}")
        return self._answers[key]

    def caption(self, row: Row, place: Place) -> Columns:
        return {"caption": usable_text(self.answer(row["key"])), "caption_model": "replay"}

    def summary(self) -> list[str]:
        return []


class Given:
    """Captions that are there: in a file with the key of a clip or of its video, or in NAME.txt beside one of them.

    Args:
        path: of the file; None for those beside.

    Raises:
        MissingFileError, InputError: it cannot be used.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._captions = {} if path is None else read_answers(path, "file of captions")

    def caption(self, row: Row, place: Place) -> Columns:
        text = self._beside(row, place) if self._path is None else self._listed(row, place)
        if not text.strip():
            raise InputError(f"the caption of {shown(row['key'])} is empty")
        return {"caption": text.strip(), "caption_model": "none"}

    def _listed(self, row: Row, place: Place) -> str:
        paths = _paths(row, place)
        names = [
            row["key"],
            row.get("video"),
            *(str(path) for path in paths),
            *(str(path.resolve()) for path in paths),
        ]
        found = next((self._captions[name] for name in names if name in self._captions), None)
        if found is None:
            raise InputError(f"there is no caption of {shown(row['key'])} in {shown_path(self._path)}")
        return found

    def _beside(self, row: Row, place: Place) -> str:
        paths = _paths(row, place)
        for path in paths:
            try:
                return read_text(path.with_suffix(".txt"), "caption", "text in UTF-8 is accepted", _MOST_TEXT)
            except MissingFileError:
                continue
        raise MissingFileError(f"there is no file {shown_path(paths[-1].with_suffix('.txt').name)} beside the video")

    def summary(self) -> list[str]:
        return []


def _paths(row: Row, place: Place) -> list[Path]:
    """The clip, and the video that it was cut from."""
    video = [place.source / row["video"]] if "video" in row else []
    return [place.file_of(row), *video]
