"""The report of a batch: a page without scripts, and the same numbers as JSON."""

import json

from ppdiffusers_ext.batch.manifest import Entry
from ppdiffusers_ext.batch.report import write_batch_report


def test_page_and_numbers_say_what_became_of_each_job(tmp_path, monkeypatch):
    entries = [
        Entry("a.mp4", "1", "made", 1, 0, "", 2.0, 10**9, figures={"identity": 0.5, "pose_error": 3.0}),
        Entry("<b>.mp4", "2", "failed", 3, 3, "no <video>"),
        Entry("c.mp4", "3", "made", 2, 1, "", 4.0, 2 * 10**9, figures={"identity": 0.7}),
        Entry("d.mp4", "1", "kept", 1, 0, "no run has made it"),
    ]
    monkeypatch.chdir(tmp_path)
    paths = tmp_path / "r.html", tmp_path / "r.json"
    write_batch_report(paths, "list/jobs.yaml", entries, 9.0)
    values = json.loads(paths[1].read_text())
    assert values["states"] == {"made": 2, "kept": 1, "failed": 1} and values["retried"] == 2
    assert (values["job_seconds"], values["peak_memory_bytes"]) == (6.0, 2 * 10**9)
    assert abs(values["mean_identity"] - 0.6) < 1e-12 and values["mean_pose_error"] == 3.0
    assert values["jobs"][1]["reason"] == "no <video>" and values["jobs"][0]["identity"] == 0.5
    text = paths[0].read_text()
    assert "Kept as they were" in text and "no run has made it" in text
    assert (
        '<a href="./a.mp4">a.mp4</a>' in text
        and "href" not in text.partition("<td>&lt;b&gt;")[2].partition("</tr>")[0]
    )
    assert "&lt;b&gt;.mp4" in text and "no &lt;video&gt;" in text and "<script" not in text
