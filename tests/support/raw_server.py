"""A server on the loopback interface that sends bytes, whatever they are."""

import contextlib
import inspect
import socket
import threading


class RawServer:
    """Use as a context manager.

    answers: for each connection the next one (the last stays): bytes, or a function of nothing or of the request's
        bytes that gives pieces, without end if it likes. Then the connection is closed.
    requests: the heads of all requests, as bytes.
    forward: a port; each connection is taken for one of a SOCKS5 client, and led there.
    """

    def __init__(self):
        self.answers, self.requests, self.forward = [b""], [], None
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._lines, self._is_closed = [], False

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._is_closed = True
        for line in [self._socket, *self._lines]:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _accept(self):
        while not self._is_closed:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            self._lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line):
        with contextlib.suppress(OSError, ValueError), line:
            if self.forward:
                return self._lead(line)
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := line.recv(65536)):
                    return None
                request += data
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if callable(answer):
                answer = answer(request) if inspect.signature(answer).parameters else answer()
            for piece in [answer] if isinstance(answer, bytes) else answer:
                line.sendall(piece)
        return None

    def _lead(self, line):
        """SOCKS5 without a password, to whatever name."""
        line.recv(300)
        line.sendall(b"\5\0")
        line.recv(300)
        line.sendall(b"\5\0\0\1\0\0\0\0\0\0")
        with socket.create_connection(("127.0.0.1", self.forward)) as there:
            threading.Thread(target=_copy, args=(there, line), daemon=True).start()
            _copy(line, there)


def _copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
