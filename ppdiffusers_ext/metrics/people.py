"""What is measured of the person in a clip against its truth: identity, poses and drift.

The reference is the first true frame; the poses that the result should have are those that the same network finds in
the true frames. See `result_report.measure`, which takes these where there is no truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.metrics.catalogue import METRICS
from ppdiffusers_ext.metrics.poses import Points
from ppdiffusers_ext.metrics.preparing import prepared_frames, prepared_pairs
from ppdiffusers_ext.metrics.protocol import Protocol
from ppdiffusers_ext.metrics.result_report import Driver, Networks, identity_of, measure
from ppdiffusers_ext.metrics.results import key_numbers
from ppdiffusers_ext.metrics.sources import Clip

CSIM = "csim_"
Frames = Callable[[], Iterable[np.ndarray]]


def measure_person(
    prediction: Clip,
    truth: Clip,
    protocol: Protocol,
    count: int,
    names: Sequence[str],
    openers: Mapping[str, Callable[[int, int], Networks]],
) -> dict[str, Any]:
    """`person_numbers` of a pair of clips, prepared as a protocol wants them; count: of frames, from the first on."""
    return person_numbers(
        lambda: (made for made, _ in prepared_pairs(prediction, truth, protocol, count)),
        lambda: prepared_frames(truth, protocol.truth, count),
        next(prepared_frames(truth, protocol.truth, 1)),
        count,
        names,
        openers,
    )


def person_numbers(
    frames: Frames,
    truth: Frames | None,
    reference: np.ndarray,
    count: int,
    names: Sequence[str],
    openers: Mapping[str, Callable[[int, int], Networks]],
) -> dict[str, Any]:
    """Numbers of a video.

    Args:
        frames: returns its frames, (H, W, 3) uint8, each time it is called.
        truth: so the true frames, in which the poses are found that it should have; None if they are not known.
        reference: picture of the person, of the frames' size.
        count: of frames.
        names: of metrics of the kind "person" in `catalogue`.
        openers: name of a csim -> a function of width and height in pixels that opens the networks.

    Returns:
        "numbers": name -> value or None; "reasons": why some are None; "frames": csim of each frame by its name;
        "frames_without_face".
    """
    height, width, _ = reference.shape
    csims = [name for name in names if name.startswith(CSIM)]
    told: dict[str, Any] = {"numbers": dict.fromkeys(names), "reasons": {}, "frames": {}, "frames_without_face": {}}
    for name in csims or [next(iter(openers))]:
        networks = openers[name](width, height) if any(METRICS[each].by for each in names) else Networks()
        measures = measure(frames(), reference, count, networks, _driver(truth, width, height, networks))
        _, identity = identity_of(measures.values)
        numbers = {**key_numbers(measures.values), name: identity["mean"] if identity else None}
        if identity:
            told["frames"][name] = identity["frames"]
            told["frames_without_face"][name] = identity["frames_without_face"]
        others = {key for key in names if not key.startswith(CSIM)}
        told["numbers"] |= {key: numbers[key] for key in (*others, name) if key in told["numbers"]}
        told["reasons"] |= measures.values["reasons"]
    return told


def _driver(truth: Frames | None, width: int, height: int, networks: Networks) -> Driver:
    if truth is None or networks.people is None:
        return Driver()
    poses: list[Points | None] = [_largest(people) for people in networks.people(truth())]
    return Driver(poses, networks.people_name).inside(width, height)


def _largest(people: Sequence[Points]) -> Points | None:
    return max(people, key=Points.longer_side, default=None)
