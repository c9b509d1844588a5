"""Servers with small models, and a real browser: Debian's Chromium, driven by Playwright."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.server_models import write_easy_models, write_media

ROOT = Path(__file__).parents[3]
SECONDS = 120  # that a page may take to show something; the machine may be busy
CHROMIUM = "PPDIFFUSERS_EXT_CHROMIUM"
TOKEN = "of-this-server-alone-0123456789"


def find_chromium():
    """The path of a Chromium: that of the environment, or one that is installed; skips tests where there is none."""
    found = os.environ.get(CHROMIUM) or shutil.which("chromium") or shutil.which("chromium-browser")
    return found or pytest.skip(f"no Chromium is installed; `apt-get install chromium`, or {CHROMIUM}=FILE")


@pytest.fixture(scope="package")
def browser():
    chromium = find_chromium()
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])  # root has no sandbox
        yield opened
        opened.close()


@contextlib.contextmanager
def served(data, *options):
    """Where the page of a server is that runs within a `with` block."""
    data.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "scripts.serve", "--port", "0", "--data", str(data), "--preview-every", "1"]
    log = data / "stderr.txt"
    with open(log, "w") as errors:
        server = subprocess.Popen(
            [*command, *map(str, options)], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    for line in server.stdout:
        if found := re.match(r"page +(http\S+/)", line):
            break
    else:
        pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")
    reading = threading.Thread(target=server.stdout.read, daemon=True)
    reading.start()
    yield found[1]
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


@pytest.fixture(scope="package")
def address(browser, tmp_path_factory):
    """Where the page of a server is that has nothing but what ships."""
    with served(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="package")
def media(tmp_path_factory):
    """A folder of pictures and videos, see `write_media`."""
    folder = tmp_path_factory.mktemp("media")
    write_media(folder)
    return folder


@pytest.fixture(scope="package")
def closed_address(browser, tmp_path_factory):
    """Where the page of a server is that asks for `TOKEN`, and has small models of EasyAnimate and a LoRA file."""
    folder = tmp_path_factory.mktemp("closed server")
    write_easy_models(folder)
    where = ("--models", folder / "models", "--loras", folder / "loras")
    with served(folder / "data", "--token", TOKEN, *where) as found:
        yield found


@pytest.fixture
def visit(browser):
    """Opens pages of visitors who were never here; at the end none of them may have told of an error.

    `visit(address, refusals=0, wait="#panel h1", **settings)`: refusals is how many requests the server refuses, which
    a browser tells of as errors by itself; settings are those of Playwright's `new_context`.
    """
    visits = []

    def visited(address, refusals=0, wait="#panel h1", **settings):
        context = browser.new_context(**({"locale": "en-US", "viewport": {"width": 1280, "height": 900}} | settings))
        page, errors = context.new_page(), []
        page.set_default_timeout(SECONDS * 1000)
        page.on("console", lambda told: told.type in ("error", "warning") and errors.append(told.text))
        page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
        visits.append((context, errors, refusals))
        page.goto(address)
        page.wait_for_selector(wait)
        return page

    yield visited
    for context, errors, refusals in visits:
        context.close()
        refused = [text for text in errors if text.startswith("Failed to load resource")]
        assert [text for text in errors if text not in refused] == []
        assert len(refused) == refusals, refused


@pytest.fixture
def open_page(visit, address):
    """`visit` of a place on the page of the server that has nothing but what ships."""
    return lambda place="", *arguments, **settings: visit(f"{address}{place}", *arguments, **settings)
