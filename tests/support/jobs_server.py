"""A small server of the routes of jobs that clients use, whose answers a test chooses: also wrong ones."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SYSTEM = {"models": [{"name": "demo", "ready": True}, {"name": "v4", "ready": False, "missing": ["vae"]}]}


class JobsServer:
    """Use it in a `with` block.

    Attributes:
        address: of the server.
        answers: (method, path without ids) -> (status, headers, bytes), or a function of the request's body that
            returns them; those that are not there are those of a job that is done at once.
        requests: (method, path, headers, body) of each request.
    """

    def __init__(self, result=b"", answers=None):
        self.result, self.answers, self.requests = result, dict(answers or {}), []

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def sent(self, method, path):
        """Bodies of the requests of a route."""
        return [body for way, place, _, body in self.requests if (way, place) == (method, path)]

    def _usual(self, method, path):
        answers = {
            ("GET", "/systems"): dict.fromkeys(("animate_anyone", "stable_animator", "easy_animate"), SYSTEM),
            ("POST", "/uploads"): {"id": f"upload{len(self.sent('POST', '/uploads'))}"},
            ("POST", "/jobs"): {"id": "one"},
            ("GET", "/jobs/one"): {"id": "one", "state": "done", "progress": 1.0},
            ("DELETE", "/jobs/one"): {"id": "one", "state": "cancelled"},
            ("GET", "/jobs/one/report"): {"colour": {"delta_e": 1.0}},
        }
        if (method, path) == ("GET", "/jobs/one/result"):
            return 200, {"Content-Type": "video/mp4"}, self.result
        if (method, path) == ("GET", "/jobs/one/events"):
            text = 'retry: 2000\n\nid: 3\nevent: progress\ndata: {"progress": 0.5}\n\n'
            text += 'id: 4\nevent: state\ndata: {"state": "done"}\n\n'
            return 200, {"Content-Type": "text/event-stream"}, text.encode()
        if (method, path) in answers:
            return 200, {"Content-Type": "application/json"}, json.dumps(answers[method, path]).encode()
        return 404, {}, b'{"error": "is not known"}'

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                path = urlsplit(self.path).path
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.requests.append((self.command, path, dict(self.headers), body))
                found = server.answers.get((self.command, path)) or server._usual(self.command, path)
                status, headers, content = found(body) if callable(found) else found
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        return Handler
