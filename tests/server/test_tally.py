"""Numbers of a server, as Prometheus reads them."""

from ppdiffusers_ext.server.tally import Tally
from tests.support.prometheus import parsed


def test_what_ends_is_counted():
    tally = Tally()
    tally.ended("done", {"loading": 1.0, "denoising": 2.0})
    tally.ended("failed", {"denoising": 0.5})
    tally.ended("cancelled", {})
    tally.lost()
    numbers = parsed(tally.text({"queued": 3, "done": 9}, {"server": 10, "worker": 0}))

    def of(name, label):
        return {dict(labels)[label]: value for labels, value in numbers[f"ppdiffusers_ext_{name}"][1].items()}

    assert of("jobs", "state") == {"queued": 3, "running": 0, "done": 9, "failed": 0, "cancelled": 0}
    assert of("jobs_ended_total", "state") == {"done": 1, "failed": 1, "cancelled": 1}
    assert of("failures_total", "kind") == {"job": 1, "worker": 1}
    assert of("stage_seconds_total", "stage") == {"loading": 1, "denoising": 2.5}
    assert of("resident_memory_bytes", "process") == {"server": 10, "worker": 0}
