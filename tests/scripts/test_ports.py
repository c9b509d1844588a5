"""Ports that the launcher holds for the processes of a training."""

import contextlib
import socket
import subprocess
import sys

import pytest
from paddle.distributed.launch.context.node import Node

from scripts.ports import held

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ports are held on Linux alone")


def is_given_to_others(port):
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def server(port):
    """As Paddle's server is."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("0.0.0.0", port))
        listening.listen()
        yield listening


def test_port_is_given_to_nobody_else_until_the_end():
    with held():
        ports = Node().get_free_ports(5)
        assert len(set(ports)) == 5
        assert not any(map(is_given_to_others, ports))
    assert all(map(is_given_to_others, ports))


def test_server_listens_on_a_port_that_is_held_and_again_after_it_has_ended():
    with held():
        port = Node().get_free_port()
        for _ in range(2):
            with server(port) as listening, socket.create_connection(("127.0.0.1", port)) as client:
                accepted, _ = listening.accept()
                accepted.sendall(b"here")
                assert client.recv(4) == b"here"
                accepted.close()


def test_launcher_chooses_no_port_that_another_holds(monkeypatch):
    with held(), server(0) as listening:
        taken = listening.getsockname()[1]
        node = Node()
        first = node.get_free_port()
        for port in (taken, first):
            monkeypatch.setattr(node, "_port_cur", port)
            assert node.get_free_port() not in (taken, first)


def test_paddle_keeps_its_store_on_a_port_that_is_held():
    with held():
        port = Node().get_free_port()
        program = (
            "from paddle.base.core import TCPStore\n"
            f"store = TCPStore('127.0.0.1', {port}, True, 1, 20)\n"
            "store.set('key', b'value')\n"
            "print('kept', store.get('key'))"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "kept b'value'" in result.stdout, result.stderr


def test_launcher_is_as_before_afterwards():
    before = Node._get_free_port
    with contextlib.suppress(RuntimeError), held():
        raise RuntimeError
    assert Node._get_free_port is before
