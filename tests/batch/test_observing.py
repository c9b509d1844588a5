"""What programs read of a batch: its numbers and its events."""

import json

from ppdiffusers_ext.batch.observing import Observer
from ppdiffusers_ext.observability.events import logged
from tests.support.batch_work import jobs_of, run_batch
from tests.support.prometheus import parsed


def test_events_and_numbers_say_what_happened(tmp_path):
    jobs, path = jobs_of(tmp_path, "x", "fail", "die"), tmp_path / "batch.prom"
    seen = []

    def observer(manifest):
        seen.append(Observer("jobs.yaml", manifest.entries.values(), path))
        return seen[0]

    with logged(tmp_path / "log", "batch"):
        run_batch(tmp_path, jobs, workers=1, observer=observer)
    assert path.exists()  # it is there while the batch runs
    seen[0].write()
    numbers = parsed(path.read_text())
    _, states = numbers["ppdiffusers_ext_batch_jobs"]
    named = {dict(labels)["state"]: value for labels, value in states.items()}
    assert named == {"waiting": 0, "begun": 0, "made": 1, "kept": 0, "failed": 2}
    of = (("list", "jobs.yaml"),)
    assert numbers["ppdiffusers_ext_batch_failures_total"][1] == {of: 3}  # one failed, one ended its worker twice
    assert numbers["ppdiffusers_ext_batch_retries_total"][1] == {of: 1}
    assert numbers["ppdiffusers_ext_batch_job_seconds_total"][1] == {of: 0.5}
    assert numbers["ppdiffusers_ext_batch_stage_seconds_total"][1] == {(*of, ("stage", "denoising")): 0.25}
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [(each["event"], each["output"][-5:]) for each in events if "output" in each]
    started = [("job_started", f"{number}.txt") for number in range(3)]
    assert set(told) == {*started, ("job_finished", "0.txt"), ("job_failed", "1.txt"), ("job_retried", "2.txt"),
                         ("job_failed", "2.txt")}  # fmt: skip
    (finished,) = (each for each in events if each["event"] == "job_finished")
    assert (finished["stages"], finished["memory_bytes"]) == ({"denoising": 0.25}, 7)
    assert {each["attempt"] for each in events if each["event"] == "job_failed"} == {1, 2}
