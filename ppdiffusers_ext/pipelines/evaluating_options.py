"""Options of an evaluation."""

from dataclasses import dataclass

from ppdiffusers_ext.options import FRAMES, ExistingOptions, option, path_option

_RESULTS, _PROTOCOL = "without GT", "by a protocol"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(ExistingOptions):
    """Options of an evaluation; which networks find people is the command's."""

    prediction: str | None = path_option(
        None, help="generated video, folder of frames or folder of videos", is_positional=True, metavar="PRED"
    )
    truth: str | None = path_option(None, help="what it should be (ground truth)", is_positional=True, metavar="GT")
    json: str | None = path_option(None, help="write the numbers to a file; - prints them instead of the table")
    per_frame: bool = option(False, help="with --json: also the numbers of every frame")
    length: int | None = option(None, *FRAMES, help="compare only the first N frames", flags=("-L",))
    resize: bool = option(False, help="bring PRED to the size of GT (bicubic)")
    reference_image: str | None = path_option(
        None, help="picture of the person, or a folder of one for each result", group=_RESULTS
    )
    driving_poses: str | None = path_option(
        None, help="poses that drove the result as JSON, or a folder of them", group=_RESULTS
    )
    protocol: str | None = option(
        None,
        help="how frames are prepared and which metrics there are: a name of docs/metrics.md, or a YAML file",
        unset="ours, with --metrics",
        group=_PROTOCOL,
        metavar="NAME",
    )
    metrics: str | None = option(
        None,
        help="metrics of the protocol, with commas between them: names, or all, paired, distribution, person, or "
        "embedded (those that need no download)",
        unset="all, with --protocol",
        group=_PROTOCOL,
        metavar="NAMES",
    )
    paired: bool | None = option(
        None,
        help="compute only what compares frame by frame with GT; --no-paired: only distances of distributions",
        unset="both, where names fit",
        group=_PROTOCOL,
    )
    csv: str | None = path_option(None, help="write the numbers as a table of commas to a file", group=_PROTOCOL)
    html: str | None = path_option(None, help="write a page with plots and the worst clips to a file", group=_PROTOCOL)
    state: str | None = path_option(
        None,
        help="folder that keeps the numbers of each clip, with which a run that was stopped goes on",
        unset="none is kept",
        group=_PROTOCOL,
        metavar="DIR",
    )
    workers: int = option(1, 1, 256, help="number of processes; the numbers do not depend on it", group=_PROTOCOL)
    weights: str = path_option(
        "pretrained_weights", help="folder of the networks' weights", group=_PROTOCOL, metavar="DIR"
    )
