"""Captions of clips; see `captioners`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ppdiffusers_ext.data.chain.caption_options import CaptionOptions, Source, caption_source
from ppdiffusers_ext.data.chain.captioners import Captioner, caption_settings, open_captioner
from ppdiffusers_ext.data.chain.steps import Columns, Place, Row, Step
from ppdiffusers_ext.data.records import digest


def source_settings(source: Source) -> dict[str, Any]:
    """What results depend on of a source: neither the address of a server nor its key."""
    digests = {} if source.file is None else {"file": digest(source.file)}
    return {"from": source.kind, "model": source.model, **digests}


@dataclass(frozen=True, kw_only=True)
class Captions(Step):
    """The step that captions clips: `caption`, `caption_model`, and the temperature and the seed of a model."""

    name: ClassVar[str] = "captions"
    is_gated: ClassVar[bool] = True
    is_waiting: ClassVar[bool] = True

    options: CaptionOptions = field(default_factory=CaptionOptions, repr=False)
    _captioner: Captioner | None = field(default=None, init=False, repr=False, compare=False)

    def settings(self) -> dict[str, Any]:
        source = caption_source(self.options)
        of_model = caption_settings(self.options) if source.server else {}
        return {"version": self.version, **source_settings(source), **of_model}

    @property
    def concurrency(self) -> int:
        return self.options.caption_jobs if caption_source(self.options).server else 1

    def check(self) -> None:
        """Raise InputError for options that do not fit, and for files that cannot be read."""
        open_captioner(caption_source(self.options), self.options, Place(Path(), Path()))

    def open(self, place: Place) -> None:
        captioner = open_captioner(caption_source(self.options), self.options, place)
        object.__setattr__(self, "_captioner", captioner)

    def __call__(self, row: Row, place: Place) -> Columns:
        assert self._captioner is not None, "open() comes first"
        return self._captioner.caption(row, place)

    def summary(self) -> list[str]:
        return [] if self._captioner is None else self._captioner.summary()
