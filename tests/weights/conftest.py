"""Fixtures of the tests of downloads."""

import pytest

from tests.support.server import Server, clean_environment


@pytest.fixture
def no_settings(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


@pytest.fixture
def server(no_settings):
    with Server() as server:
        yield server


@pytest.fixture
def dest(no_settings, tmp_path):
    return tmp_path / "weights"


@pytest.fixture
def hub(server, monkeypatch):
    """The server as the hub, with a token."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return server
