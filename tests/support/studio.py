"""The server of jobs on the loopback interface, in a thread of the test's process: uvicorn as the command runs it.

Its worker is not started, so that jobs wait in the queue until a test runs or ends them by hand.
"""

import asyncio
import contextlib
import http.client
import io
import json
import re
import secrets
import socket
import threading
import time

import PIL.Image
import uvicorn

from ppdiffusers_ext.server.app import make_app
from ppdiffusers_ext.server.jobs import Jobs
from ppdiffusers_ext.server.security import Access
from ppdiffusers_ext.server.service import Service
from ppdiffusers_ext.server.serving import bind, configured
from ppdiffusers_ext.server.settings import ServerSettings

SECONDS = 30.0  # that a test waits for an answer


class Answer:
    """status; headers (lower case); body (bytes); `json`."""

    def __init__(self, response, body):
        self.status, self.body = response.status, body
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class Client:
    """Asks a server of this machine. `port`: where it listens."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, headers=(), token=None, seconds=SECONDS):
        """The answer to a request; a body that is not bytes goes as JSON."""
        headers = {"Host": f"127.0.0.1:{self.port}", **dict(headers)}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response, response.read())

    def send_form(self, path, fields, token=None):
        """The answer to a form: name -> text, or (file name, bytes)."""
        body, headers = form(fields)
        return self.ask("POST", path, body, headers, token)

    def raw(self, text, seconds=SECONDS):
        """What comes back for bytes as they are: an answer, or what there is of one after so many seconds."""
        found = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(text)
                while not _is_whole(found) and (piece := connection.recv(1 << 16)):
                    found += piece
        return found


class Studio(Client):
    """A server that runs. `jobs`, `service`, `store`: what it has."""

    def __init__(self, folder, settings, **access):
        self.jobs = Jobs(folder, settings)
        self.store = self.jobs._store
        self._socket = bind("127.0.0.1", 0)
        super().__init__(self._socket.getsockname()[1])
        self.service = Service(self.jobs, settings, Access(**{"host": "127.0.0.1", **access}))
        self._uploads = {}
        self.server = uvicorn.Server(configured(make_app(self.service)))
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve([self._socket])), daemon=True)

    def __enter__(self):
        self._thread.start()
        deadline = time.monotonic() + SECONDS
        while not self.server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.service.is_stopping = self.server.should_exit = True
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        self.jobs.stop()
        self._socket.close()

    def upload(self, side=64):
        """The id of a picture that was uploaded without HTTP; the same one each time, for a look at it takes long."""
        if side not in self._uploads:
            self._uploads[side] = self.jobs.add_upload(io.BytesIO(picture(side)), "person.png").id
        return self._uploads[side]

    def job(self):
        """The id of a job that waits."""
        return self.store.add_job("easy_animate", {"prompt": "a red ball"}, {}, 10_000)

    def run_next(self):
        """(id, attempt) of the job that is made to run."""
        job, attempt = self.store.begin_next()
        return job.id, attempt

    def end(self, job_id, attempt, state="done", error=None, **files):
        """End a job that runs, with results: name -> (file name, bytes)."""
        folder = self.jobs._files.folder_of(job_id)
        folder.mkdir(exist_ok=True)
        for name, content in files.values():
            (folder / name).write_bytes(content)
        assert self.store.end(job_id, attempt, state, error, {key: name for key, (name, _) in files.items()})


def _is_whole(answer):
    """Whether bytes are an answer of a length that it says."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return bool(separator and length) and len(body) >= int(length[1])


def form(fields):
    """The body and the headers of a form; see `Studio.send_form`."""
    boundary, parts = secrets.token_hex(8), []
    for name, value in fields.items():
        is_file = isinstance(value, tuple)
        head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{value[0]}"' if is_file else "")
        content = value[1] if is_file else value.encode()
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def picture(side=64):
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    PIL.Image.linear_gradient("L").resize((side, side)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def studio(folder, access=None, **settings):
    """A server that runs within a `with` block."""
    with Studio(folder, ServerSettings(**settings), **(access or {})) as found:
        yield found
