"""What is measured of the person in a clip against its truth: identity, poses and drift.

The reference is the first true frame; the poses that the result should have are those that the same network finds in
the true frames. See `result_report.measure`, which takes these where there is no truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.metrics.poses import Points
from ppdiffusers_ext.metrics.preparing import prepared_frames, prepared_pairs, size_after
from ppdiffusers_ext.metrics.protocol import Protocol
from ppdiffusers_ext.metrics.result_report import Driver, Measures, Networks, identity_of, measure
from ppdiffusers_ext.metrics.results import key_numbers
from ppdiffusers_ext.metrics.sources import Clip

CSIM = "csim_"


def measure_person(
    prediction: Clip,
    truth: Clip,
    protocol: Protocol,
    count: int,
    names: Sequence[str],
    openers: Mapping[str, Callable[[int, int], Networks]],
) -> dict[str, Any]:
    """Numbers of a pair of clips.

    Args:
        count: of frames, from the first on.
        names: of metrics of the kind "person" in `catalogue`.
        openers: name of a csim -> a function of width and height in pixels that opens the networks.

    Returns:
        "numbers": name -> value or None; "reasons": why some are None; "frames": csim of each frame by its name;
        "frames_without_face".
    """
    width, height = size_after(protocol.truth, truth.width, truth.height)
    csims = [name for name in names if name.startswith(CSIM)]
    told: dict[str, Any] = {"numbers": dict.fromkeys(names), "reasons": {}, "frames": {}, "frames_without_face": {}}
    for name in csims or [next(iter(openers))]:
        networks = openers[name](width, height)
        measures = _measure(prediction, truth, protocol, count, networks)
        _, identity = identity_of(measures.values)
        numbers = {**key_numbers(measures.values), name: identity["mean"] if identity else None}
        if identity:
            told["frames"][name] = identity["frames"]
            told["frames_without_face"][name] = identity["frames_without_face"]
        others = {key for key in names if not key.startswith(CSIM)}
        told["numbers"] |= {key: numbers[key] for key in (*others, name) if key in told["numbers"]}
        told["reasons"] |= measures.values["reasons"]
    return told


def _measure(prediction: Clip, truth: Clip, protocol: Protocol, count: int, networks: Networks) -> Measures:
    reference = next(iter(prepared_frames(truth, protocol.truth, 1)))
    driver = Driver()
    if networks.people is not None:
        found = networks.people(prepared_frames(truth, protocol.truth, count))
        poses: list[Points | None] = [_largest(people) for people in found]
        height, width, _ = reference.shape
        driver = Driver(poses, networks.people_name).inside(width, height)
    frames = _first_of(prepared_pairs(prediction, truth, protocol, count))
    return measure(frames, reference, count, networks, driver)


def _first_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    return (one for one, _ in pairs)


def _largest(people: Sequence[Points]) -> Points | None:
    return max(people, key=Points.longer_side, default=None)
