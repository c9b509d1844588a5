"""How well frames of a clip match its caption: the cosine of CLIP's features (Hessel et al., CLIPScore, 2021).

The original (aigc-apps/EasyAnimate) compares whole clips by VideoCLIP-XL, which takes captions of 248 tokens. CLIP
reads 77 tokens of a caption, and sees frames one by one: the original's threshold does not apply to its numbers.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ppdiffusers_ext.data.chain.captioners import choose_frames
from ppdiffusers_ext.data.chain.network_files import CLIP, folder_of
from ppdiffusers_ext.data.chain.network_step import NetworkStep
from ppdiffusers_ext.data.chain.steps import Columns, Place, Row
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.data.chain.networks import Clip

_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Match(NetworkStep):
    """The step `clip_score`: the cosines of eight frames and the caption, and `sample_frame_idx`."""

    name: ClassVar[str] = "match"
    needs: ClassVar[tuple[str, ...]] = ("captions",)
    reads: ClassVar[tuple[str, ...]] = ("rewriting",)  # whose caption goes over that of captions
    checkpoints: ClassVar[tuple[str, ...]] = (CLIP,)

    _clip: "Clip | None" = field(default=None, init=False, repr=False, compare=False)

    def open(self, place: Place) -> None:
        from ppdiffusers_ext.data.chain.networks import Clip

        object.__setattr__(self, "_clip", Clip(folder_of(self.weights, CLIP), self.device, with_texts=True))

    def __call__(self, row: Row, place: Place) -> Columns:
        from ppdiffusers_ext.data.chain.networks import in_batches

        assert self._clip is not None, "open() comes first"
        caption = row.get("caption")
        if not isinstance(caption, str) or not caption.strip():
            raise InputError("there is no caption to be compared with the frames")
        reader = FrameReader(place.file_of(row))
        chosen = choose_frames(len(reader), _FRAMES)
        pixels = (self._clip.prepare(frame) for _, frame in reader.stream(chosen))
        scores = in_batches(self._clip.images, pixels) @ self._clip.text(caption)
        return {"clip_score": [round(float(score), 5) for score in scores], "sample_frame_idx": chosen}
