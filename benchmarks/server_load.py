"""How long a server of jobs takes to answer 200 requests at once while a job runs.

    python -m benchmarks server_load --json server_load.json

Starts `scripts.serve` in a process of its own with an empty data folder, and a job of the demo model that runs until
the end. Each round sends --requests requests at the same moment, each on a connection of its own: once `GET /health`
alone, and once among all the other routes that a page or a program uses: lists of jobs, jobs, systems, uploads that
are read and that are sent, files of the page, previews, new jobs, plans of memory and people in a picture. A request
counts from its connection to the last byte of its answer. It is lost if it has no answer, or one of a status that is
not expected. Heavy routes may answer 429 or 503: those are counted beside.

The goal is a median of `GET /health` below 200 ms and nothing lost. The client runs on the same machine and takes
processor time as well: about a tenth of a millisecond a request.
"""

import json
import math
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

GOAL = 0.2  # seconds
PATIENCE = 300  # seconds that a round may take
# Name of a route -> its share of a round.
MIX = {
    "health": 40, "jobs": 30, "job": 36, "systems": 10, "upload": 20, "page": 30, "preview": 10,
    "send an upload": 8, "send a job": 10, "plan": 4, "people": 2,
}  # fmt: skip
BUSY = (429, 503)
_BOUNDARY = "benchmark"


def add_arguments(parser):
    parser.add_argument("--requests", type=int, default=200, metavar="N", help="at once (default 200)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="of each kind (default 10)")
    parser.add_argument("--small", action="store_true", help="two rounds of 20, to try the benchmark itself")


def compete(options):
    count, rounds = (20, 2) if options.small else (options.requests, options.rounds)
    for name, value in (("requests", count), ("rounds", rounds)):
        if not 1 <= value <= 400:
            raise InputError(f"--{name} {value} is not accepted; a number from 1 to 400 is")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, Server(folder) as server:
        job, files = server.begin()
        kinds = {"alone": lambda: [_health(server)] * count, "mixed": lambda: _mixed(server, job, files, count)}
        found = {name: [] for name in kinds}
        for number in range(rounds):
            for name, make in kinds.items():
                print(f"measuring {name}, round {number + 1} of {rounds} ...", file=sys.stderr, flush=True)
                found[name] += send_all(server.port, make())
                time.sleep(0.5)
        if not server.is_running(job):
            raise RuntimeError("the job ended before the last round")
    routes = {name: of_routes(answers) for name, answers in found.items()}
    for name, rows in routes.items():
        print_table(name, rows)
    median = max(rows["health"]["median"] for rows in routes.values())
    lost = sum(row["lost"] for rows in routes.values() for row in rows.values())
    verdict = "reached" if median < GOAL and not lost else "missed"
    print(f"/health: median {median * 1000:.0f} ms, {lost} lost; goal: {GOAL * 1000:.0f} ms and none lost: {verdict}")
    settings = {"requests": count, "rounds": rounds, "goal": GOAL}
    return {"median": median, "lost": lost, "reached": verdict == "reached", "routes": routes, "settings": settings}


class Server:
    """`scripts.serve` in a process of its own, for the block of a `with`.

    Args:
        folder: for its data.
    """

    def __init__(self, folder):
        self._folder = folder

    def __enter__(self):
        command = [sys.executable, "-m", "scripts.serve", "--port", "0", "--data", f"{self._folder}/data"]
        command += ["--max-queued", "100000"]
        self._log = open(f"{self._folder}/log", "wb")
        self._process = subprocess.Popen(command, cwd=harness.ROOT, stdout=subprocess.PIPE, stderr=self._log)
        line = self._process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if not found:
            raise RuntimeError(f"the server did not start: {Path(self._log.name).read_text()[-1000:]}")
        self.port = int(found[1])
        return self

    def __exit__(self, *_):
        self._process.terminate()  # what is started in a shell's background ignores Ctrl-C
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    @property
    def process(self):
        """Its number."""
        return self._process.pid

    def ask(self, request):
        """The JSON of an answer."""
        answer = send_all(self.port, [request])[0]
        if answer.status not in (200, 201):
            raise RuntimeError(f"{request.name} was answered with {answer.status}: {answer.body[:500]}")
        return json.loads(answer.body)

    def begin(self):
        """Start a job that lasts: its id, once it denoises and has a preview, and its files by role."""
        files = {}
        for role, name in (("reference_image", "reference.png"), ("pose_video", "pose.mp4")):
            content = (harness.ROOT / "assets" / name).read_bytes()
            files[role] = self.ask(self.upload(name, content))["id"]
        options = {"model": "demo", "num_frames": 8, "num_inference_steps": 1000}
        given = {"system": "animate_anyone", "options": options, "files": files}
        job = self.ask(self.json("send a job", "/jobs", given))["id"]
        self.ask(
            self.json("plan", "/plan", {**given, "options": {"model": "demo"}}, (200,))
        )  # what plans is loaded then
        deadline = time.monotonic() + 2 * PATIENCE
        while "preview" not in self.ask(self.get("job", f"/jobs/{job}"))["results"]:
            if time.monotonic() > deadline or not self.is_running(job, ("queued", "running")):
                raise RuntimeError(f"the job does not run: {self.ask(self.get('job', f'/jobs/{job}'))}")
            time.sleep(0.2)
        return job, files

    def is_running(self, job, states=("running",)):
        return self.ask(self.get("job", f"/jobs/{job}"))["state"] in states

    def get(self, name, path, statuses=(200,)):
        return Request(name, self._bytes("GET", path), statuses)

    def json(self, name, path, value, statuses=(201,)):
        body = json.dumps(value).encode()
        return Request(name, self._bytes("POST", path, body, "application/json"), statuses)

    def upload(self, name, content, statuses=(201,)):
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        return Request("send an upload", self._bytes("POST", "/uploads", body, kind), statuses)

    def _bytes(self, method, path, body=b"", kind=None):
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Connection: close"]
        lines += [] if kind is None else [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Request:
    """
    Args:
        name: of its route.
        content: bytes to send.
        statuses: that are expected.
    """

    def __init__(self, name, content, statuses):
        self.name, self.content, self.statuses = name, content, statuses


class Answer:
    """`request`; `seconds` until it was whole; `status` (0 for none); `body`."""

    def __init__(self, request, seconds, content):
        head, separator, self.body = content.partition(b"\r\n\r\n")
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
        is_whole = found and separator and (not length or int(length[1]) == len(self.body))
        self.request, self.seconds, self.status = request, seconds, int(found[1]) if is_whole else 0

    @property
    def is_lost(self):
        return self.status not in self.request.statuses


def send_all(port, requests):
    """The answers to requests that are sent at the same moment, each on a connection that ends with its answer."""
    found, deadline = [], time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for request in requests:
            line = socket.socket()
            line.setblocking(False)
            begun = time.perf_counter()
            line.connect_ex(("127.0.0.1", port))
            selector.register(line, selectors.EVENT_WRITE, [request, begun, memoryview(request.content), bytearray()])
        while len(found) < len(requests) and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                if not _goes_on(selector, key):
                    request, begun, _, content = key.data
                    found.append(Answer(request, time.perf_counter() - begun, bytes(content)))
        for key in list(selector.get_map().values()):
            key.fileobj.close()
            found.append(Answer(key.data[0], PATIENCE, b""))
    return found


def _goes_on(selector, key):
    """Send or receive what can be; whether a connection has not ended."""
    line, data = key.fileobj, key.data
    try:
        if data[2]:
            data[2] = data[2][line.send(data[2]) :]
            if not data[2]:
                selector.modify(line, selectors.EVENT_READ, data)
            return True
        if piece := line.recv(1 << 18):
            data[3] += piece
            return True
    except BlockingIOError:
        return True
    except OSError:  # it was refused, or cut off
        pass
    selector.unregister(line)
    line.close()
    return False


def _health(server):
    return server.get("health", "/health")


def _mixed(server, job, files, count):
    """So many requests of all routes, by `MIX`, in the same random order each time."""
    posed = {"system": "animate_anyone", "options": {"model": "demo"}, "files": files}
    picture = (harness.ROOT / "assets" / "reference.png").read_bytes()
    people = {"upload": files["reference_image"]}
    made = {
        "health": _health(server),
        "jobs": server.get("jobs", "/jobs"),
        "job": server.get("job", f"/jobs/{job}"),
        "systems": server.get("systems", "/systems"),
        "upload": server.get("upload", f"/uploads/{files['pose_video']}"),
        "page": server.get("page", "/page/base.css"),
        "preview": server.get("preview", f"/jobs/{job}/preview"),
        "send an upload": server.upload("reference.png", picture, (201, *BUSY)),
        "send a job": server.json("send a job", "/jobs", posed, (201, *BUSY)),
        "plan": server.json("plan", "/plan", posed, (200, *BUSY)),
        "people": server.json("people", "/previews/poses", people, (200, *BUSY)),
    }
    names = [name for name, share in MIX.items() for _ in range(round(share * count / sum(MIX.values())))]
    names = [*names, *["health"] * count][:count]
    random.Random(0).shuffle(names)
    return [made[name] for name in names]


def of_routes(answers):
    """Name of a route -> its number of answers, median, 95th percentile and maximum in seconds, lost and statuses."""
    found = {}
    for name in sorted({answer.request.name for answer in answers}, key=list(MIX).index):
        own = [answer for answer in answers if answer.request.name == name]
        times = sorted(answer.seconds for answer in own)
        found[name] = {
            "count": len(own),
            "median": statistics.median(times),
            "95th": times[math.ceil(0.95 * len(times)) - 1],
            "maximum": times[-1],
            "lost": sum(answer.is_lost for answer in own),
            "statuses": dict(sorted(Counter(str(answer.status) for answer in own).items())),
        }
    return found


def print_table(title, rows):
    print(f"{title:24} {'count':>6} {'median ms':>10} {'95th ms':>9} {'max ms':>9} {'lost':>5}  statuses")
    for name, row in rows.items():
        times = [1000 * row[key] for key in ("median", "95th", "maximum")]
        statuses = ", ".join(f"{status}: {count}" for status, count in row["statuses"].items())
        print(
            f"{name:24} {row['count']:6} {times[0]:10.0f} {times[1]:9.0f} {times[2]:9.0f} {row['lost']:5}  {statuses}"
        )
