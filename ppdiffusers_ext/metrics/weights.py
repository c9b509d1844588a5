"""Whether the weights that metrics need are there, told before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.errors import MissingFileError, shown_path
from ppdiffusers_ext.metrics.catalogue import EMBEDDED, Metric
from ppdiffusers_ext.metrics.networks import choose_engine, fetching, network
from ppdiffusers_ext.metrics.tasks import Weights


def check_weight_files(
    metrics: Sequence[Metric], folder: str | os.PathLike, others: Mapping[str, tuple[str, str]]
) -> dict[str, list[tuple[str, str]]]:
    """The files of each network that metrics need: its name -> paths in the folder, each with its checkpoint.

    Args:
        folder: that `scripts/download_weights.py` fills.
        others: networks that are not of `networks.NETWORKS`: name -> path of the file in the folder, and the
            checkpoint that has it.

    Raises:
        MissingFileError: files are missing; it names all of them, what each is for, and what fetches them.
    """
    needed: dict[str, list[str]] = {}
    for metric in metrics:
        if metric.network:
            needed.setdefault(metric.network, []).append(metric.name)
    files = {name: [others[name]] if name in others else _files(name) for name in needed}
    absent = [
        (name, path, checkpoint)
        for name, pairs in files.items()
        for path, checkpoint in pairs
        if not (Path(folder) / path).is_file()
    ]
    if absent:
        said = "; ".join(f"{', '.join(needed[name])} needs {path}" for name, path, _ in absent)
        command = fetching((checkpoint for *_, checkpoint in absent), folder)
        raise MissingFileError(
            f"weights are missing in {shown_path(folder)}: {said}; `{command}` "
            f"fetches them, and --metrics {EMBEDDED} is accepted without"
        )
    return files


def check_weights(
    metrics: Sequence[Metric], folder: str | os.PathLike, others: Mapping[str, tuple[str, str]]
) -> Weights:
    """The `Weights` of metrics, with the digests of their files; see `check_weight_files`."""
    files = check_weight_files(metrics, folder, others)
    digests = (
        (name, tuple((path, digest(Path(folder) / path)) for path, _ in pairs)) for name, pairs in files.items()
    )
    engine = choose_engine("auto") if set(files) - set(others) else ""
    return Weights(os.fspath(folder), tuple(digests), engine)


def _files(name: str) -> list[tuple[str, str]]:
    """Paths of a network's files in the folder of weights, each with the checkpoint that has it."""
    found = network(name)
    return list(zip(found.files, found.checkpoints, strict=True))
