"""What tests of downloads share: small entries, pages that they are fetched from, and what must come of it."""

import hashlib
import json
from dataclasses import replace

from ppdiffusers_ext.weights.download import download
from ppdiffusers_ext.weights.entries import File, Weights
from ppdiffusers_ext.weights.exchange import Patience
from ppdiffusers_ext.weights.inventory import items_of, missing
from tests.support.server import Page

# Asks again at once, but waits for an answer as long as a busy machine may take: whoever counts requests takes this.
QUICK = Patience(attempts=3, first_wait=0.01, longest_wait=0.05, connect_timeout=20, read_timeout=20)
IMPATIENT = replace(QUICK, read_timeout=0.3)  # for servers that never answer
CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
OTHER = CONTENT[::-1]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def weights(*files, source, name="net", **options):
    values = {"systems": ("one",), "folder": name, "licence": "MIT", "needed_by": "tests", **options}
    sources = (source,) if isinstance(source, str) else source
    return Weights(name=name, sources=sources, files=files, **values)


def fetch(entry, dest, **options):
    return download([entry], dest, **{"patience": QUICK, **options})


def the_reason(outcomes):
    """Of a single failure."""
    assert [outcome.result for outcome in outcomes] == ["failed"], outcomes
    return "; ".join(outcomes[0].reasons)


def fail(entry, dest, *words, **options):
    reason = the_reason(fetch(entry, dest, **options))
    for word in words:
        assert word in reason
    assert missing([entry], dest) == [item.path for item in items_of([entry])]
    return reason


def succeed(entry, dest, content=CONTENT, **options):
    outcomes = fetch(entry, dest, **options)
    assert [outcome.result for outcome in outcomes] == ["fetched"], outcomes
    path = dest / outcomes[0].item.path
    assert path.read_bytes() == content
    assert leftovers(dest) == []


def leftovers(dest):
    """Hidden files but the lock."""
    return sorted(path.name for path in dest.rglob(".*") if path.name != ".lock")


def records(dest):
    return json.loads((dest / "checksums.json").read_text())["files"]


def plain(server, path="/w.bin", content=CONTENT, file=None, **behaviour):
    """A page and the entry that fetches it."""
    server.pages[path] = Page(content, **behaviour)
    return weights(file or File(path.lstrip("/")), source=server.url)


def linked(content, **headers):
    """What the hub says of a large file."""
    return {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content)), **headers}


def leave_part(dest, content, **note):
    """As a run that was stopped leaves it."""
    (dest / "net").mkdir(parents=True)
    (dest / "net/.w.bin.part").write_bytes(content)
    if note:
        (dest / "net/.w.bin.part.json").write_text(f"{json.dumps(note)}\n{len(content)} {sha256(content)}\n")


def from_byte(have):
    """The Range that continues a part of so many bytes: the last ones are fetched again."""
    return f"bytes={have - 4096}-"
