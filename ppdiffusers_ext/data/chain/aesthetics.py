"""How frames of a clip look, as SigLIP aesthetics v2.5 rate them: from about 1 to 10, above 5.5 is good.

As aigc-apps/EasyAnimate's `AestheticScoreSigLIP`, in fp32: four frames at equal distances from the first on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ppdiffusers_ext.data.chain.network_files import AESTHETIC, FILES, SIGLIP, folder_of
from ppdiffusers_ext.data.chain.network_step import NetworkStep
from ppdiffusers_ext.data.chain.steps import ClipFacts, Columns, Measure, Place, Row

if TYPE_CHECKING:
    from ppdiffusers_ext.data.chain import networks

_FRAMES = 4


def _chosen(num_frames: int) -> list[int]:
    """Indices of the frames that are rated; a clip of fewer has some twice."""
    return [int(index) for index in np.linspace(0, num_frames, _FRAMES, endpoint=False)]


@dataclass(frozen=True, kw_only=True)
class Aesthetics(NetworkStep, Measure):
    """The measure `aesthetic_score_siglip`: four numbers, and `sample_frame_idx`, their frames."""

    name: ClassVar[str] = "aesthetics"
    checkpoints: ClassVar[tuple[str, ...]] = (SIGLIP, AESTHETIC)

    _network: "networks.Aesthetics | None" = field(default=None, init=False, repr=False, compare=False)

    def open(self, place: Place) -> None:
        from ppdiffusers_ext.data.chain.networks import Aesthetics as Network

        head = folder_of(self.weights, AESTHETIC) / FILES[AESTHETIC][1][0]
        network = Network(folder_of(self.weights, SIGLIP), head, self.device)
        object.__setattr__(self, "_network", network)

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        return sorted(set(_chosen(facts.num_frames)))

    def watch(self, row: Row, facts: ClipFacts) -> "_Watcher":
        assert self._network is not None, "open() comes first"
        return _Watcher(self._network, _chosen(facts.num_frames))


class _Watcher:
    def __init__(self, network: "networks.Aesthetics", chosen: list[int]) -> None:
        self._network, self._chosen = network, chosen
        self._seen: dict[int, np.ndarray] = {}

    def see(self, index: int, frame: np.ndarray) -> None:
        self._seen[index] = self._network.prepare(frame)

    def columns(self) -> Columns:
        scores = dict(zip(self._seen, self._network.scores(np.stack(list(self._seen.values())))))
        return {
            "aesthetic_score_siglip": [round(float(scores[index]), 5) for index in self._chosen],
            "sample_frame_idx": self._chosen,
        }
