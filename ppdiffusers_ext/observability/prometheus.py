"""Numbers in Prometheus' text format, version 0.0.4, for a scraper or node_exporter's textfile collector.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTER, GAUGE = "counter", "gauge"
PREFIX = "ppdiffusers_ext_"


@dataclass
class Metric:
    """A metric and its samples.

    Attributes:
        name: without the prefix; that of a counter ends in _total.
        help: what it is, in one sentence.
        kind: `COUNTER` or `GAUGE`.
        samples: pairs of labels, name -> value, and the number.
    """

    name: str
    help: str
    kind: str = GAUGE
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> "Metric":
        """Add a sample; gives the metric back."""
        self.samples.append((labels, value))
        return self

    def add_each(self, values: Mapping[str, float], label: str, **labels: str) -> "Metric":
        """Add a sample for each value, whose name is that of a label; gives the metric back."""
        for name, value in values.items():
            self.add(value, **labels, **{label: name})
        return self


def text_of(metrics: Iterable[Metric]) -> str:
    """The text of metrics; one without samples is left out."""
    lines: list[str] = []
    for metric in metrics:
        if metric.samples:
            name = f"{PREFIX}{metric.name}"
            lines += [f"# HELP {name} {_escaped(metric.help)}", f"# TYPE {name} {metric.kind}"]
            lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in metric.samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    quoted = (f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return f"{{{','.join(quoted)}}}"


def _escaped(text: str) -> str:
    # Halves of characters, as names of files may have them, are no UTF-8.
    whole = text.encode("utf-8", "backslashreplace").decode()
    return whole.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
