"""Captions rewritten by a language model, so that they say what is to be seen and nothing else.

As aigc-apps/EasyAnimate's `caption_rewrite.py`, with a template of our own words: see `chat.rewriting`.
"""

import threading
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ppdiffusers_ext.chat.client import Client, ServerDownError
from ppdiffusers_ext.chat.rewriting import MAX_TOKENS, REWRITE, ask_client, rewritten
from ppdiffusers_ext.data.chain.answers import KeptAnswers
from ppdiffusers_ext.data.chain.caption_options import CaptionOptions, Source, rewriting_source
from ppdiffusers_ext.data.chain.captioners import Replay
from ppdiffusers_ext.data.chain.captions import source_settings
from ppdiffusers_ext.data.chain.steps import Columns, Place, Row, Step, StopRun
from ppdiffusers_ext.errors import InputError, counted


@dataclass(frozen=True, kw_only=True)
class Rewriting(Step):
    """The step that rewrites captions: `caption`, which goes over that of `captions`, and `rewriting_model`."""

    name: ClassVar[str] = "rewriting"
    needs: ClassVar[tuple[str, ...]] = ("captions",)
    is_gated: ClassVar[bool] = True
    is_waiting: ClassVar[bool] = True

    options: CaptionOptions = field(default_factory=CaptionOptions, repr=False)
    _rewriter: "_Rewriter | None" = field(default=None, init=False, repr=False, compare=False)

    def settings(self) -> dict[str, Any]:
        source = rewriting_source(self.options)
        of_model = {"words": REWRITE.words, **_of_model(self.options)} if source.server else {}
        return {"version": self.version, **source_settings(source), **of_model}

    @property
    def concurrency(self) -> int:
        return self.options.caption_jobs if rewriting_source(self.options).server else 1

    def check(self) -> None:
        """Raise InputError for options that do not fit, and for a file that cannot be read."""
        source = rewriting_source(self.options)
        if source.file is not None:
            Replay(source.file)

    def open(self, place: Place) -> None:
        object.__setattr__(self, "_rewriter", _Rewriter(rewriting_source(self.options), self.options, place))

    def __call__(self, row: Row, place: Place) -> Columns:
        assert self._rewriter is not None, "open() comes first"
        return self._rewriter.rewrite(row)

    def summary(self) -> list[str]:
        return [] if self._rewriter is None else self._rewriter.summary()


def _of_model(options: Any) -> dict[str, Any]:
    names = ("rewrite_temperature", "rewrite_attempts", "caption_seed")
    return {"max_tokens": MAX_TOKENS, **{name: getattr(options, name) for name in names}}


class _Rewriter:
    """Rewrites captions by a server, whose texts are kept below the folder of the run, or from a file."""

    def __init__(self, source: Source, options: CaptionOptions, place: Place) -> None:
        self._source, self._options = source, options
        self._client = None if source.server is None else Client(source.server)
        self._replay = None if source.file is None else Replay(source.file)
        self._kept, self._reused, self._lock = KeptAnswers(place.output), 0, threading.Lock()

    def rewrite(self, row: Row) -> Columns:
        caption = row.get("caption")
        if not isinstance(caption, str) or not caption.strip():
            raise InputError("there is no caption to be rewritten")
        if self._replay is not None:
            answer = self._replay.answer(row["key"])
            return {"caption": rewritten(REWRITE, lambda _: answer, 1), "rewriting_model": "replay"}
        asked = {"caption": caption, "model": self._source.model, "words": REWRITE.words, **_of_model(self._options)}
        text = self._kept.get(asked)
        if text is None:
            text = self._ask(caption)
            self._kept.put(asked, text)
        else:
            with self._lock:
                self._reused += 1
        return {"caption": text, "rewriting_model": self._source.model}

    def _ask(self, caption: str) -> str:
        assert self._client is not None
        options = self._options
        ask = ask_client(self._client, REWRITE, caption, options.rewrite_temperature, options.caption_seed)
        try:
            return rewritten(REWRITE, ask, options.rewrite_attempts)
        except ServerDownError as error:
            raise StopRun(
                f"the server of --rewriter does not answer: {error}, and then --retry-failed goes on"
            ) from None

    def summary(self) -> list[str]:
        if self._client is None:
            return []
        used = self._client.usage.told(self._options.price_in, self._options.price_out)
        return [f"rewriting: {used}; {counted(self._reused, 'answer')} of earlier runs"]
