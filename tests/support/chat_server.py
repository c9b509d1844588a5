"""A chat server on the loopback interface: it checks what is asked, and answers as a test wants."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler

from tests.support.server import Loopback

JSON = "application/json"


def says(text, prompt_tokens=100, completion_tokens=10, **message):
    """The body of an answer of OpenAI's protocol."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    message = {"role": "assistant", "content": text, **message}
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()


class ChatServer(Loopback):
    """Use as a context manager.

    answers: for each request the next one (the last stays): a text that the model says; bytes, a whole body; a tuple
        (status, headers, body); None, for a line that is closed without an answer; or a function of what was asked.
    asked: the JSON of each request. headers: of each request. busiest: requests at a time, at most.
    """

    def __init__(self, *answers):
        self.answers, self.asked, self.headers, self.busiest, self._now = list(answers), [], [], 0, 0
        self._lock = threading.Lock()
        super().__init__(_Handler)
        self.url += "/v1"

    def take(self, asked, headers):
        """The next answer as (status, headers, body), or None."""
        with self._lock:
            self._now += 1
            self.busiest = max(self.busiest, self._now)
            self.asked.append(asked)
            self.headers.append(headers)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = answer(asked) if callable(answer) else answer
        answer = says(answer) if isinstance(answer, str) else answer
        with self._lock:
            self._now -= 1
        return (200, {"Content-Type": JSON}, answer) if isinstance(answer, bytes) else answer


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions":
            return self.send_error(404)
        found = self.owner.take(json.loads(content), dict(self.headers))
        if found is None:
            return None
        status, headers, body = found
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        return None


def slowly(text, seconds):
    """An answer that takes its time."""

    def answer(_):
        time.sleep(seconds)
        return text

    return answer
