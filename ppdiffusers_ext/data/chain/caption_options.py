"""Options of captions and of their rewriting: who answers, what is asked, and how patiently."""

import os
from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.chat.client import Server
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import check_file
from ppdiffusers_ext.options import option, path_option

KEY_VARIABLE = "OPENAI_API_KEY"
REPLAY, NONE = "replay:", "none"
PROMPT = (
    "These are frames of one video, in the order of time. Describe the video in detail: the subjects and how they "
    "look, what they do, the surroundings, and the movement of the camera. Do not repeat yourself."
)
_CAPTIONS, _REWRITING = "Captions", "Rewriting"
_ACCEPTED = "the base of an API, such as http://127.0.0.1:8000/v1, replay:FILE or none is accepted"


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """Options of the steps `captions` and `rewriting`."""

    captioner: str | None = option(
        None,
        help="OpenAI-compatible server that sees pictures, as http://HOST/v1; replay:FILE takes answers from a file, "
        "none takes captions that are there",
        unset="none",
        group=_CAPTIONS,
        metavar="URL",
    )
    model: str | None = option(None, help="name of the server's model", group=_CAPTIONS, metavar="NAME")
    api_key: str | None = option(
        None, help="key of the server", unset=f"{KEY_VARIABLE} of the environment", group=_CAPTIONS, metavar="KEY"
    )
    captions: str | None = path_option(
        None,
        help="captions that are there: JSON, JSON lines or CSV with key (or file_path) and caption (or text)",
        unset="a file NAME.txt beside each clip or video",
        group=_CAPTIONS,
        metavar="FILE",
    )
    caption_prompt: str = option(PROMPT, help="what the model is asked about the frames", group=_CAPTIONS)
    caption_frames: int = option(8, 1, 128, help="number of frames that the model sees", group=_CAPTIONS)
    caption_size: int = option(448, 32, 4096, help="longest side of these frames in pixels", group=_CAPTIONS)
    caption_quality: int = option(90, 1, 100, help="quality of these frames as JPEG", group=_CAPTIONS)
    caption_tokens: int = option(512, 1, 100_000, help="number of tokens that a caption may have", group=_CAPTIONS)
    caption_temperature: float = option(0.0, 0, 2, help="temperature of the model", group=_CAPTIONS)
    caption_seed: int = option(0, 0, 2**31 - 1, help="seed of what the model draws", group=_CAPTIONS)
    caption_jobs: int = option(4, 1, 256, help="number of requests at a time", group=_CAPTIONS)
    caption_timeout: float = option(120.0, 0.1, 86_400, help="seconds that an answer may take", group=_CAPTIONS)
    caption_attempts: int = option(
        5, 1, 100, help="number of requests until one that fails is given up", group=_CAPTIONS
    )
    caption_failures: int = option(
        10, 1, 1_000_000, help="number of clips in a row without an answer that end the run", group=_CAPTIONS
    )
    price_in: float | None = option(
        None, 0, 1e6, help="price of a million tokens of prompts, for the cost", group=_CAPTIONS
    )
    price_out: float | None = option(
        None, 0, 1e6, help="price of a million tokens of answers, for the cost", group=_CAPTIONS
    )
    rewriter: str | None = option(
        None,
        help="server of the language model that rewrites captions, or replay:FILE",
        unset="the captioner",
        group=_REWRITING,
        metavar="URL",
    )
    rewriter_model: str | None = option(
        None, help="name of that server's model", unset="model", group=_REWRITING, metavar="NAME"
    )
    rewriter_key: str | None = option(
        None,
        help="key of that server",
        unset=f"api_key for the captioner, else {KEY_VARIABLE}",
        group=_REWRITING,
        metavar="KEY",
    )
    rewrite_attempts: int = option(10, 1, 100, help="number of answers until one can be used", group=_REWRITING)
    rewrite_temperature: float = option(0.7, 0, 2, help="temperature of that model", group=_REWRITING)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where answers come from: a server, a file of answers, or what is there.

    Attributes:
        server: to be asked.
        file: of answers (`replay`) or of captions (`none`).
        is_replay: whether the file has answers.
    """

    server: Server | None = None
    file: str | None = None
    is_replay: bool = False

    @property
    def kind(self) -> str:
        return "server" if self.server else "replay" if self.is_replay else "none"

    @property
    def model(self) -> str:
        """As a row has it."""
        return self.server.model if self.server else self.kind


def caption_source(options: Any) -> Source:
    """Where captions come from.

    Args:
        options: has the fields of `CaptionOptions`.

    Raises:
        MissingFileError, InputError: values that do not fit each other.
    """
    name = options.captioner or NONE
    if name != NONE and options.captions is not None:
        raise InputError("--captioner and --captions are both given; --captions is for captioner none")
    if name == NONE and options.captions is not None:
        check_file(options.captions, "file of captions", "JSON, JSON lines or CSV is accepted")
        return Source(file=options.captions)
    if name == NONE:
        return Source()
    return _source(options, name, "--captioner", options.model, "--model", options.api_key)


def rewriting_source(options: Any) -> Source:
    """Where rewritten captions come from; see `caption_source`."""
    name = options.rewriter or options.captioner or NONE
    if name == NONE or (options.rewriter is None and name.startswith(REPLAY)):
        raise InputError("captions are to be rewritten, but there is no --rewriter; " + _ACCEPTED)
    is_same = name == options.captioner
    key = options.rewriter_key or (options.api_key if is_same else None)
    return _source(options, name, "--rewriter", options.rewriter_model or options.model, "--rewriter-model", key)


def _source(options: Any, name: str, flag: str, model: str | None, flag_of_model: str, key: str | None) -> Source:
    if name.startswith(REPLAY):
        file = name.removeprefix(REPLAY)
        check_file(file, f"file of answers of {flag},", "replay:FILE with JSON lines of key and answer is accepted")
        return Source(file=file, is_replay=True)
    if not name.startswith(("http://", "https://")):
        raise InputError(f"{flag} {shown(name)} is not known; {_ACCEPTED}")
    if not model:
        raise InputError(f"{flag} is given without {flag_of_model}; the name of a model that the server has is needed")
    return Source(
        server=Server(
            url=name,
            model=model,
            api_key=os.environ.get(KEY_VARIABLE, "") if key is None else key,
            timeout=options.caption_timeout,
            attempts=options.caption_attempts,
            most_failures=options.caption_failures,
        )
    )
