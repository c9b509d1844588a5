"""Ports of this machine that nobody uses."""

import socket


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_address():
    """Address of this machine with a free port."""
    return f"127.0.0.1:{free_port()}"
