"""What a denoising step asks of EasyAnimate's transformers, in an engine: predictions for texts, wanted and not."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import paddle
from paddle import nn

from ppdiffusers_ext.data.easy_animate.buckets import MULTIPLE
from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.distributed.sequence import SequenceSplit
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
from ppdiffusers_ext.models.easy_animate.shared import embed_numbers
from ppdiffusers_ext.models.sequence import split_by

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.engines import Engine
    from ppdiffusers_ext.pipelines.steps import BlockCaching, Guidance


ORIGINAL_SIZE, CROP = (1024.0, 1024.0), (0.0, 0.0)  # that V4 is told of
# Conditions that nothing but the first block needs, and those that are needed after the last.
_OF_BEGIN, _OF_END = ("known", "places"), ("extra", "sizes")


@dataclass(frozen=True)
class Text:
    """What the transformer sees of texts.

    Attributes:
        states, mask: of the first text encoder, (batch, tokens, channels) and (batch, tokens).
        states_2, mask_2: of the second, which V4 has.
        loras: (path, weight) of the LoRA files that were merged into the text encoders.
    """

    states: paddle.Tensor
    mask: paddle.Tensor
    states_2: paddle.Tensor | None = None
    mask_2: paddle.Tensor | None = None
    loras: tuple = ()

    def rows(self, start: int, end: int) -> "Text":
        """Those of some of the texts."""
        parts = (self.states, self.mask, self.states_2, self.mask_2)
        rows: Any = (None if part is None else part[start:end] for part in parts)
        return replace(Text(*rows), loras=self.loras)


def size_multiple(transformer: nn.Layer) -> int:
    """Of which a side of the video has to have a whole number, in pixels."""
    return MULTIPLE * getattr(transformer, "square", 1)


class TransformerCall:
    """The transformer with all that does not change from step to step of a clip.

    Args:
        engine: an `EagerEngine`, a `CompiledEngine` or an `AutoEngine`.
        network: the `Network` of a `HunyuanTransformer3D` or `PixArtTransformer3D`.
        texts: `Text` of what is not wanted, or None without guidance, and of what is.
        size: frames, height and width of the latents.
        pixels: height and width of the video.
        num_steps: of denoising.
        guidance: `Guidance`.
        caching: `BlockCaching`.

    Attributes:
        kept: what block caching keeps from step to step.
    """

    def __init__(
        self,
        engine: "Engine",
        network: Network,
        texts: tuple[Text | None, Text],
        size: Sequence[int],
        pixels: Sequence[int],
        num_steps: int,
        guidance: "Guidance",
        caching: "BlockCaching",
    ) -> None:
        self._engine, self._network, self._model = engine, network, network.model
        self._size, self._num_steps, self._guidance, self._caching = tuple(size), num_steps, guidance, caching
        self._tables = self._model.prepare_tables(*size)
        self._texts = {  # whether wanted -> conditions
            bool(i): self._prepare("prepare_text", self._text_inputs(text, pixels))
            for i, text in enumerate(texts)
            if text is not None
        }
        self._pictures: dict[bool, dict[str, paddle.Tensor]] = {}  # whether seen -> conditions
        self._known: dict[str, paddle.Tensor] = {}
        self._first_step: float = 0
        self._joined: dict[tuple, dict[str, paddle.Tensor]] = {}  # rows, whether CLIP's are seen -> conditions
        # Words for rows -> what a step leaves for the next: its "step", and what the "first" block and the "others"
        # added when all ran.
        self.kept: dict[str, dict[str, Any]] = {}

    def see(self, known: paddle.Tensor, clip: paddle.Tensor | None, first_step: float) -> None:
        """
        Args:
            known: of the video, (batch, 8, frames, h, w), for inpainting.
            clip: CLIP's tokens (batch, tokens, channels), for a `PixArtTransformer3D` its embedding (batch, 768); or
                None.
            first_step: from which on what is wanted is seen with CLIP's.
        """
        self._known, self._first_step = {"known": known}, first_step
        if self._model.has_clip:
            batch, count = known.shape[0], self._model.tokens_of_clip
            tokens = paddle.zeros([batch, *self._model.shape_of_clip]) if clip is None else clip
            for is_seen in (False, True) if clip is not None else (False,):
                inputs = {"tokens": tokens * float(is_seen), "mask": paddle.full([batch, count], float(is_seen))}
                self._pictures[is_seen] = self._prepare("prepare_picture", inputs)

    def __call__(self, latents: paddle.Tensor, timestep: Any, step: int) -> list[paddle.Tensor]:
        """Predictions of a step.

        Args:
            latents: (batch, 4, frames, h, w), scaled.
            timestep: a number.
            step: its number, from 0.

        Returns:
            List of tensors as latents: for what is not wanted and for what is, or in a step without guidance for the
            latter alone.
        """
        rows = (False, True) if self._guidance.applies((step + 0.5) / self._num_steps) else (True,)
        ranks, groups = current_ranks(), [(row,) for row in rows] if self._guidance.sequential else [rows]
        predict = lambda group: self._predict(group, latents, timestep, step)  # noqa: E731
        if self._divides_halves:
            singly = [(row,) for row in rows]
            predictions = ranks.divide(
                [functools.partial(predict, group) for group in singly], [int(row) % ranks.count for row in rows]
            )
            return [prediction[:, : latents.shape[1]] for prediction in predictions]
        with self._divided():
            parts = [predict(group).chunk(len(group)) for group in groups]
        return [prediction[:, : latents.shape[1]] for part in parts for prediction in part]

    @property
    def _divides_halves(self) -> bool:
        """Whether ranks divide what is wanted and what is not, which takes no exchange within the network.

        More than two divide the sequence; so do two where one text is predicted after the other, or none but one, so
        that longer videos fit.
        """
        if current_ranks().count == 1:
            return False
        is_shorter = self._guidance.sequential or len(self._texts) == 1
        return not self._can_divide or (current_ranks().count == 2 and not is_shorter)

    @property
    def _can_divide(self) -> bool:
        """Whether each rank can have a part of the sequence: not of an export, nor of blocks that are passed over."""
        least = min(self._model.units_of(self._size), self._model.heads_to_divide)
        return self._engine.name == "eager" and not self._caching.threshold and current_ranks().count <= least

    def _divided(self) -> contextlib.AbstractContextManager:
        ranks = current_ranks()
        if ranks.count == 1:
            return contextlib.nullcontext()
        return split_by(SequenceSplit(ranks, self._model.units_of(self._size)))

    def _predict(self, rows: tuple[bool, ...], latents: paddle.Tensor, timestep: Any, step: int) -> paddle.Tensor:
        x = paddle.concat([latents] * len(rows))  # (rows * batch, 4, frames, h, w)
        time = embed_numbers(paddle.full([x.shape[0]], float(timestep), "float32"))
        conditions = self.conditions(rows, step >= self._first_step)
        if not self._caching.threshold:
            return self._run("denoise", {"latents": x, "time": time, **conditions})[0]
        y, first = self._run("begin", {"latents": x, "time": time, **conditions})  # (rows * batch, tokens, channels)
        name, is_last = " ".join(map(str, rows)), step == self._num_steps - 1
        kept = self.kept.get(name)
        if kept and kept["step"] == step - 1 and not is_last and self._caching.is_close(first, kept["first"]):
            kept["step"], x = step, y + kept["others"]
        else:
            of_rest = {name: tensor for name, tensor in conditions.items() if name not in _OF_BEGIN}
            (x,) = self._run("rest", {"x": y, "time": time, **of_rest}, size=self._size)
            self.kept[name] = {"step": step, "first": first, "others": x - y}
        of_end = {name: conditions[name] for name in _OF_END if name in conditions}
        return self._run("end", {"x": x, "time": time, **of_end}, size=self._size)[0]

    def conditions(self, rows: tuple[bool, ...], sees: bool) -> dict[str, paddle.Tensor]:
        """Name -> tensor, for rows of texts; CLIP's are for what is wanted."""
        if (rows, sees) not in self._joined:
            each = []
            for is_wanted in rows:
                is_seen = is_wanted and sees and True in self._pictures
                each.append({**self._texts[is_wanted], **self._pictures.get(is_seen, {}), **self._known})
            joined = {name: paddle.concat([conditions[name] for conditions in each]) for name in each[0]}
            self._joined[rows, sees] = {**joined, **self._tables}
        return self._joined[rows, sees]

    def _text_inputs(self, text: Text, pixels: Sequence[int]) -> dict[str, Any]:
        batch, (height, width) = text.states.shape[0], (float(side) for side in pixels)
        inputs: dict[str, Any] = {"states": text.states, "mask": text.mask}
        if isinstance(self._model, HunyuanTransformer3D):
            sizes = [[*ORIGINAL_SIZE, height, width, *CROP]]
            inputs |= {"states_2": text.states_2, "mask_2": text.mask_2, "sizes": _numbers(sizes, batch)}
        elif self._model.has_sizes:
            inputs |= {"resolution": _numbers([[height, width]], batch), "ratio": _numbers([[height / width]], batch)}
        return inputs

    def _prepare(self, what: str, inputs: dict[str, paddle.Tensor]) -> dict[str, paddle.Tensor]:
        """Conditions that a method of the transformer makes of tensors."""
        function = lambda *tensors: list(getattr(self._model, what)(*tensors).values())  # noqa: E731
        tensors = self._engine.run(self._network, what, function, inputs)
        return dict(zip(self._model.CONDITIONS[what], tensors))

    def _run(self, what: str, inputs: dict[str, paddle.Tensor], **settings: Any) -> list[paddle.Tensor]:
        """What a method of the transformer makes of two tensors and conditions."""
        names = list(inputs)[2:]

        def function(x: paddle.Tensor, time: paddle.Tensor, *tensors: paddle.Tensor) -> list[paddle.Tensor]:
            result = getattr(self._model, what)(x, time, dict(zip(names, tensors)), **settings)
            return list(result) if isinstance(result, tuple) else [result]

        calls = self._num_steps * (2 if self._guidance.sequential and len(self._texts) > 1 else 1)
        return self._engine.run(self._network, what, function, inputs, calls, in_8_bits=what != "end", **settings)


def _numbers(rows: list[list[float]], batch: int) -> paddle.Tensor:
    return embed_numbers(paddle.to_tensor(rows * batch))
