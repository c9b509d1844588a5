"""Events of a job as they come, and its results as files."""

import http.client
import threading
import time

import pytest

from tests.support.studio import picture, studio


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with studio(tmp_path_factory.mktemp("studio")) as server:
        yield server


@pytest.fixture(scope="module")
def done(found):
    """The id of a job with results."""
    found.job()
    job, attempt = found.run_next()
    found.end(
        job, attempt, result=("result.mp4", bytes(range(256)) * 40), preview=("preview.png", picture()),
        report=("report.json", b"{}"), report_page=("report.html", b"<script>alert(1)</script>"),
        odd=("odd.svg", b"<svg/>"),
    )  # fmt: skip
    return job


def read_events(found, job, last=None, most=100):
    """[(number, kind, data)] of a stream until it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=30)
    connection.request("GET", f"/jobs/{job}/events", headers={} if last is None else {"Last-Event-ID": str(last)})
    response = connection.getresponse()
    assert response.status in (200, 204)
    events, fields = [], {}
    while len(events) < most and (line := response.readline().decode().rstrip("\n")) is not None:
        if response.closed or (not line and response.isclosed()):
            break
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            events.append((int(fields["id"]), fields["event"], fields["data"]))
            fields = {}
        else:
            fields = {}
    connection.close()
    return events


def test_events_come_as_they_happen_and_end_with_the_job(found):
    waiting = found.job()
    seen, times = [], []

    def follow():
        seen.extend(read_events(found, waiting))
        times.append(time.monotonic())

    thread = threading.Thread(target=follow)
    thread.start()
    job, attempt = found.run_next()
    assert job == waiting
    for step in range(3):
        found.store.update(job, attempt, "progress", {"progress": step / 4, "stage": "denoising", "seconds_left": 1.0})
        time.sleep(0.05)
    found.store.update(job, attempt, "plan", {"rung": "high"})
    assert thread.is_alive()
    found.end(job, attempt, result=("result.mp4", b"x"))
    thread.join(10)
    assert not thread.is_alive()
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers)) and seen[-1][1:] == (
        "state",
        '{"state":"done","error":null,"position":null}',
    )
    assert {"state", "progress", "plan"} <= {kind for _, kind, _ in seen}


def test_a_stream_goes_on_after_the_last_event_that_is_known(found, done):
    events = read_events(found, done)
    assert len(events) >= 3
    for number, _, _ in events[:-1]:
        assert read_events(found, done, number) == [event for event in events if event[0] > number]
    answer = found.ask("GET", f"/jobs/{done}/events", headers={"Last-Event-ID": str(events[-1][0])})
    assert (answer.status, answer.body) == (204, b"")  # a browser does not ask again


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 40, "1 2", "\u0663".encode().decode("latin-1"), "0x1"])
def test_an_event_that_cannot_be_is_refused(found, done, last):
    assert found.ask("GET", f"/jobs/{done}/events", headers={"Last-Event-ID": last}).status == 400


def test_a_silent_stream_says_that_it_is_there(found, monkeypatch):
    from ppdiffusers_ext.server import routes_results

    monkeypatch.setattr(routes_results, "_KEEP_ALIVE", 0.0)
    monkeypatch.setattr(routes_results, "_LOOK", 0.05)
    connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=10)
    connection.request("GET", f"/jobs/{found.job()}/events")
    response = connection.getresponse()
    assert response.getheader("Content-Type").startswith("text/event-stream")
    lines = [response.readline() for _ in range(12)]
    connection.close()
    assert lines.count(b": keep-alive\n") >= 2


def test_streams_are_bounded_and_given_free(found):
    job, opened = found.job(), []
    total = int(found.service.events.total_tokens)
    found.service.events.total_tokens = 2
    try:
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=10)
            connection.request("GET", f"/jobs/{job}/events")
            response = connection.getresponse()
            response.readline()
            opened.append((connection, response))
        for _ in range(20):  # whatever the two streams are doing: waiting, or telling
            assert found.ask("GET", f"/jobs/{job}/events", headers={"Last-Event-ID": "0"}).status == 429
            time.sleep(0.05)
    finally:
        for connection, response in opened:
            response.close()
            connection.close()
        found.service.events.total_tokens = total
    deadline = time.monotonic() + 10
    while found.service.events.borrowed_tokens and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found.service.events.borrowed_tokens == 0


def test_results_are_attachments_that_run_nothing(found, done):
    names = {"result": "video/mp4", "preview": "image/png", "report": "application/json",
             "report_page": "text/html; charset=utf-8", "odd": "application/octet-stream"}  # fmt: skip
    for name, kind in names.items():
        answer = found.ask("GET", f"/jobs/{done}/result?name={name}")
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["content-disposition"].startswith('attachment; filename="easy_animate_')
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "sandbox" in policy and "default-src 'none'" in policy and "script-src" not in policy
    assert found.ask("GET", f"/jobs/{done}/preview").body == picture()
    assert found.ask("GET", f"/jobs/{done}/report").json == {}
    head = found.ask("HEAD", f"/jobs/{done}/result")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(256 * 40))


WHOLE = bytes(range(256)) * 40
SIZE = len(WHOLE)
RANGES = [
    ("bytes=0-0", 206, WHOLE[:1]), ("bytes=0-", 206, WHOLE), ("bytes=100-199", 206, WHOLE[100:200]),
    ("bytes=-5", 206, WHOLE[-5:]), (f"bytes={SIZE - 1}-", 206, WHOLE[-1:]), (f"bytes=5-{10**17}", 206, WHOLE[5:]),
    (f"bytes=-{10**17}", 206, WHOLE), (f"bytes={SIZE}-", 416, None), ("bytes=999999-1000000", 416, None),
    ("bytes=-0", 416, None), ("bytes=5-4", 200, WHOLE), ("bytes=", 200, WHOLE), ("bytes=-", 200, WHOLE),
    ("bytes=a-b", 200, WHOLE), ("lines=0-1", 200, WHOLE), ("bytes=0-1,4-5", 200, WHOLE),
    ("bytes=" + ",".join(["0-"] * 3000), 200, WHOLE), ("bytes=--5", 200, WHOLE), ("x" * 5000, 200, WHOLE),
    ("bytes=" + "9" * 400 + "-", 200, WHOLE), ("bytes= 0-5", 200, WHOLE), ("", 200, WHOLE),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "status", "content"), RANGES, ids=[row[0][:30] for row in RANGES])
def test_a_part_of_a_result_can_be_asked_for(found, done, asked, status, content):
    answer = found.ask("GET", f"/jobs/{done}/result", headers={"Range": asked})
    assert answer.status == status
    if content is None:
        assert answer.headers["content-range"] == f"bytes */{SIZE}" and "; " in answer.error
    else:
        assert answer.body == content and answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("name", ["", "nothing", "../result.mp4", "/etc/passwd", "result.mp4", "%00", "result/../x"])
def test_a_result_is_one_of_the_names_of_its_job(found, done, name):
    answer = found.ask("GET", f"/jobs/{done}/result?name={name}")
    assert answer.status == 409 and "there is result" in answer.error


def test_a_result_that_was_removed_is_not_found(found):
    found.job()
    job, attempt = found.run_next()
    found.end(job, attempt, result=("result.mp4", b"x"))
    (found.jobs._files.folder_of(job) / "result.mp4").unlink()
    answer = found.ask("GET", f"/jobs/{job}/result")
    assert answer.status == 404 and "removed" in answer.error


def test_a_job_without_results_says_so(found):
    job = found.job()
    for path in ("result", "preview", "report"):
        assert found.ask("GET", f"/jobs/{job}/{path}").status == 409
