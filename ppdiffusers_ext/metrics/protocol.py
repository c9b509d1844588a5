"""Protocols: how a paper evaluates, fixed in one YAML file each, so that two people get the same number.

`metrics/protocols/NAME.yaml` says what is done with the frames, which metrics are computed, and what the paper leaves
open and is assumed. `--protocol` also takes a YAML file of the user's own, of the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, check_keys, counted, one_line, shown, shown_path, suggestion
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.metrics.catalogue import DISTRIBUTION, METRICS, PAIRED, PERSON, Metric

FOLDER = Path(__file__).parent / "protocols"
CROPS = ("none", "centre_square")
FILTERS = ("none", "bilinear", "bicubic", "opencv_bilinear")
LENGTHS = ("refuse", "shortest")
AVERAGES = ("frames", "clips")
# Distance -> network -> preparations of its frames; see `distribution`.
_OF_I3D = ("disco", "styleganv")
PREPARATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "fid": {"inception_fid": ("",)},
    "fid_vid": {"resnet3d_fidvid": ("disco",)},
    "fvd": {"i3d_fvd": _OF_I3D, "i3d_videogpt": _OF_I3D},
}
_SIDES = (64, 8192)  # pixels
_MOST_SAMPLES = 10_000
_MOST_STRIDE = 1024  # frames


@dataclass(frozen=True)
class Frames:
    """What is done with the frames of one side before they are measured.

    Attributes:
        crop: one of `CROPS`.
        size: (width, height) in pixels, or None for the frames' own.
        filter: one of `FILTERS`, by which they are resized; of the prediction also to the truth's size, for paired
            metrics. "none" makes another size an error.
    """

    crop: str
    size: tuple[int, int] | None
    filter: str


@dataclass(frozen=True)
class Windows:
    """What a distance is computed of: the features of runs of successive frames by a network.

    Attributes:
        network: key of `networks.NETWORKS`.
        preparation: what the network does with frames, see `distribution`; "" for FID, which has but one.
        clip_length, stride: so many frames, from every `stride`-th frame on.
    """

    network: str
    preparation: str
    clip_length: int
    stride: int

    def count(self, num_frames: int) -> int:
        """How many there are in a clip; starts without enough successors are dropped."""
        return max(0, (num_frames - self.clip_length) // self.stride + 1)


@dataclass(frozen=True)
class Bootstrap:
    """Intervals: how often clips are drawn again for means and for distances (which cost more), the share of the draws
    within, and their seed. Fewer than two draws give no interval."""

    samples: int
    distances: int
    level: float
    seed: int


@dataclass(frozen=True)
class Protocol:
    """An evaluation.

    Attributes:
        name: of the file, without its ending.
        title, compares_with: for people.
        different_lengths: "refuse" a clip and its truth of several lengths, or compare as many as the "shortest" has.
        truth, prediction: see `Frames`.
        paired, person: names of metrics, see `catalogue`.
        average: whether each of the "frames" of a dataset counts the same in paired metrics, or each of its "clips".
        distributions: name of the distance -> its `Windows`.
        bootstrap: see `Bootstrap`.
        assumptions: what the paper does not say, and is taken here.
    """

    name: str
    title: str
    compares_with: str
    different_lengths: str
    truth: Frames
    prediction: Frames
    paired: tuple[str, ...]
    average: str
    distributions: Mapping[str, Windows]
    person: tuple[str, ...]
    bootstrap: Bootstrap
    assumptions: tuple[str, ...]

    def metrics(self) -> list[Metric]:
        """All metrics that it has, in its order."""
        distances = [replace(METRICS[name], network=each.network) for name, each in self.distributions.items()]
        return [*(METRICS[name] for name in self.paired), *distances, *(METRICS[name] for name in self.person)]

    def as_dict(self) -> dict[str, Any]:
        """As it is written beside the numbers that it made."""
        return asdict(self)

    def lines(self) -> list[str]:
        """As it is printed beside them."""
        truth, made = self.truth, self.prediction
        size = "own size" if truth.size is None else "{}x{}".format(*truth.size)
        windows = "; ".join(
            f"{METRICS[name].title}: {each.network} on {counted(each.clip_length, 'frame')}, stride {each.stride}"
            + (f", prepared as {each.preparation} does" if each.preparation else "")
            for name, each in self.distributions.items()
        )
        return [
            f"protocol {self.name}: {self.title}",
            f"compares with: {self.compares_with}",
            f"true frames: crop {truth.crop}, {size}, {truth.filter}; generated: crop {made.crop}, to the true size "
            f"by {made.filter}; different lengths: {self.different_lengths}",
            f"mean over {self.average}; {windows or 'no distances of distributions'}; intervals: "
            f"{100 * self.bootstrap.level:g}%, clips drawn {self.bootstrap.samples} times for means and "
            f"{self.bootstrap.distances} for distances (seed {self.bootstrap.seed})",
            *(f"assumed: {text}" for text in self.assumptions),
        ]


def protocol_names() -> list[str]:
    """The protocols that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_protocol(protocol: str) -> Protocol:
    """The `Protocol` of a name, or of the path of a YAML file.

    Raises:
        InputError, MissingFileError: there is none, or it has other keys or values.
    """
    if protocol in protocol_names():
        path = FOLDER / f"{protocol}.yaml"
    elif protocol.endswith((".yaml", ".yml")):
        path = Path(protocol)
    else:
        raise InputError(f"there is no protocol {shown(protocol)}; {suggestion(protocol, protocol_names())}")
    values = read_yaml(path, "protocol", f"one of {', '.join(protocol_names())}, or a YAML file, is accepted")
    return _Reader(path, values).protocol()


class _Reader:
    """Holds the values of a file against what is accepted."""

    def __init__(self, path: Path, values: Any) -> None:
        self._path, self._values = path, values

    def protocol(self) -> Protocol:
        self._check_keys(self._values, [item.name for item in fields(Protocol) if item.name != "name"], "key")
        values = self._values
        windows = values["distributions"]
        self._check_names(windows, DISTRIBUTION, "distributions")
        return Protocol(
            name=self._path.stem,
            title=self._text("title"),
            compares_with=self._text("compares_with"),
            different_lengths=self._one_of(values, "different_lengths", LENGTHS),
            truth=self._frames("truth"),
            prediction=self._frames("prediction"),
            paired=self._names("paired", PAIRED),
            average=self._one_of(values, "average", AVERAGES),
            distributions={name: self._windows(name, each) for name, each in windows.items()},
            person=self._names("person", PERSON),
            bootstrap=self._bootstrap(),
            assumptions=tuple(self._texts("assumptions")),
        )

    def _wrong(self, key: str, value: object, accepted: str) -> InputError:
        return InputError(f"{key} in protocol {shown_path(self._path)} is {shown(value)}; {accepted} is accepted")

    def _check_keys(self, values: Any, known: Sequence[str], what: str) -> None:
        check_keys(values, known, f"{what} in protocol {shown_path(self._path)}")
        if missing := [name for name in known if name not in values]:
            raise InputError(f"protocol {shown_path(self._path)} has no {what} {missing[0]}, which is needed")

    def _text(self, key: str) -> str:
        value = self._values[key]
        if not isinstance(value, str):
            raise self._wrong(key, value, "text")
        return one_line(value)  # it is printed

    def _texts(self, key: str) -> list[str]:
        value = self._values[key]
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._wrong(key, value, "a list of texts")
        return list(map(one_line, value))

    def _one_of(self, values: Mapping[str, Any], key: str, known: Sequence[str]) -> str:
        if values[key] not in known:
            raise self._wrong(key, values[key], " or ".join(known))
        return str(values[key])

    def _number(self, values: Mapping[str, Any], key: str, least: int, most: int) -> int:
        value = values[key]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._wrong(key, value, f"a whole number from {least} to {most}")
        return value

    def _check_names(self, names: Any, kind: str, key: str) -> None:
        known = [metric.name for metric in METRICS.values() if metric.kind == kind]
        check_keys(names, known, f"metric of {key} in protocol {shown_path(self._path)}")

    def _names(self, key: str, kind: str) -> tuple[str, ...]:
        names = self._texts(key)
        self._check_names(dict.fromkeys(names), kind, key)
        return tuple(dict.fromkeys(names))

    def _frames(self, key: str) -> Frames:
        values = self._values[key]
        self._check_keys(values, ("crop", "size", "filter"), f"key of {key}")
        size = values["size"]
        if size is not None:
            if not isinstance(size, list) or len(size) != 2:
                raise self._wrong(f"size of {key}", size, "[width, height], or null for the frames' own,")
            sides = {"width": size[0], "height": size[1]}
            size = (self._number(sides, "width", *_SIDES), self._number(sides, "height", *_SIDES))
        frames = Frames(self._one_of(values, "crop", CROPS), size, self._one_of(values, "filter", FILTERS))
        if frames.size is not None and frames.filter == "none":
            raise self._wrong(f"filter of {key}", "none", f"with a size one of {', '.join(FILTERS[1:])}")
        return frames

    def _windows(self, name: str, values: Any) -> Windows:
        self._check_keys(values, ("network", "preparation", "clip_length", "stride"), f"key of {name}")
        metric, known = METRICS[name], PREPARATIONS[name]
        network = self._one_of(values, "network", list(known))
        preparation = self._one_of({"preparation": values["preparation"] or ""}, "preparation", known[network])
        length = self._number(values, "clip_length", metric.least_frames, metric.most_frames)
        return Windows(network, preparation, length, self._number(values, "stride", 1, _MOST_STRIDE))

    def _bootstrap(self) -> Bootstrap:
        values = self._values["bootstrap"]
        self._check_keys(values, ("samples", "distances", "level", "seed"), "key of bootstrap")
        level = values["level"]
        if not isinstance(level, float) or not 0 < level < 1:
            raise self._wrong("level", level, "a number between 0 and 1")
        samples, distances = (self._number(values, name, 0, _MOST_SAMPLES) for name in ("samples", "distances"))
        return Bootstrap(samples, distances, level, self._number(values, "seed", 0, 2**32 - 1))
