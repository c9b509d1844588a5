"""Fetch what is missing of a selection of the registry into a folder, and record what was verified.

    from ppdiffusers_ext.weights.download import download
    from ppdiffusers_ext.weights.inventory import select
    from ppdiffusers_ext.weights.registry import REGISTRY

    outcomes = download(select(REGISTRY, ["animate_anyone"]), "pretrained_weights")

A file that is there and is not the right one is never overwritten. What a run that was stopped has left is continued.
"""

import contextlib
import logging
import os
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.archives import ArchiveError, unpack
from ppdiffusers_ext.weights.checksums import Checksums, Record, sha256_of
from ppdiffusers_ext.weights.inventory import Item, items_of, state_of
from ppdiffusers_ext.weights.parallel import in_parallel
from ppdiffusers_ext.weights.sources import ask, check_address, check_hub, open_session, sources_of
from ppdiffusers_ext.weights.transfer import Expected, Hosts, Patience, SourceError, Transfer, part_of, remove_part

_logger = logging.getLogger(__name__)

LOCK = ".lock"
_PROBES = 8


@dataclass(frozen=True)
class Step:
    """What is to be done for one item.

    state: as in `inventory.STATES`.
    size: bytes to fetch or to check; None where nobody knows.
    done: bytes that an earlier run has left.
    """

    item: Item
    state: str
    size: int | None
    done: int = 0


@dataclass(frozen=True)
class Plan:
    """All steps, and the free bytes of the disk."""

    steps: tuple
    free: int

    @property
    def to_fetch(self):
        return [step for step in self.steps if step.state == "missing"]

    @property
    def bytes_to_fetch(self):
        """Of those whose size is known."""
        return sum(step.size - step.done for step in self.to_fetch if step.size is not None)

    @property
    def bytes_needed(self):
        """On the disk: weights do not compress, so an archive and its content take at least twice its size."""
        unpacked = sum(step.size for step in self.to_fetch if step.size is not None and step.item.file.is_archive)
        return self.bytes_to_fetch + unpacked


@dataclass(frozen=True)
class Outcome:
    """What became of an item: "present" (nothing was done), "checked", "fetched", or "failed" for some reasons."""

    item: Item
    result: str
    reasons: tuple = ()


class Progress:
    """Is told how a download goes on; this one keeps it to itself. The calls come from several threads."""

    def planned(self, plan):
        """Before the first byte."""

    def advanced(self, count):
        """So many bytes came (or, negative, were thrown away)."""

    def finished(self, outcome):
        """One item is done with."""


def download(entries, folder, mirror=None, jobs=4, patience=None, progress=None):
    """Bring the files of `entries` (`Weights`) into `folder`. Returns an `Outcome` for each, in their order.

    A file that cannot be fetched does not stop the others: see its outcome. Of two downloads into one folder, the
    second waits for the first.

    mirror: an address that is asked first.
    jobs: files at once.

    Raises InputError for a bad address, a folder that cannot be written, checksums.json being damaged, or a disk that
    has too little room; nothing has been fetched then.
    """
    folder, items = Path(folder), items_of(entries)
    if mirror is not None:
        check_address(mirror, "--mirror")
    check_hub()
    run = _Run(folder, mirror, jobs, patience or Patience(), progress or Progress())
    # Without the lock, so that a folder in which all is there need not be writable.
    if all(run.state(item) == "present" for item in items):
        return run.carry_out(items)
    with _locked(folder):
        # Whoever had the lock before may have brought something.
        run.checksums = Checksums(folder)
        return run.carry_out(items)


class _Run:
    """One call of `download`."""

    def __init__(self, folder, mirror, jobs, patience, progress):
        self.folder, self.mirror, self.jobs, self.patience, self.progress = folder, mirror, jobs, patience, progress
        self.checksums = Checksums(folder)
        self.stop = threading.Event()
        self.sessions, self.hosts = threading.local(), Hosts()

    def state(self, item):
        return state_of(item, self.folder, self.checksums.get(item.path))

    def carry_out(self, items):
        plan = self.plan(items)
        self.progress.planned(plan)
        if plan.bytes_needed > plan.free:
            raise InputError(
                f"{plan.bytes_needed} bytes are needed in {self.folder}, but {plan.free} are free; free some space, "
                "choose another --dest, or fetch less by --only"
            )
        outcomes = {}
        for outcome in in_parallel(self.obtain, plan.steps, self.jobs, self.stop):
            outcomes[outcome.item.path] = outcome
            self.progress.finished(outcome)
        return [outcomes[item.path] for item in items]

    def plan(self, items):
        steps = dict(in_parallel(self.step, enumerate(items), _PROBES))
        existing = self.folder.absolute()
        while not existing.exists():
            existing = existing.parent
        return Plan(tuple(steps[index] for index in range(len(items))), shutil.disk_usage(existing).free)

    def step(self, numbered):
        index, item = numbered
        state, record = self.state(item), self.checksums.get(item.path)
        path = self.folder / item.path
        if state != "missing":
            size = path.stat().st_size if path.is_file() else record and record.size
            return index, Step(item, state, size)
        part = part_of(path)
        size = item.file.size or (record and record.size) or self.ask_size(item)
        done = part.stat().st_size if part.is_file() else 0
        return index, Step(item, state, size, done if size is None else min(done, size))

    def ask_size(self, item):
        # Nobody wants to wait long for a number in a table.
        timeout = self.patience.connect_timeout, min(self.patience.read_timeout, self.patience.connect_timeout)
        for source in sources_of(item, self.mirror):
            offer = ask(self.session(), source, timeout)
            if offer is not None and offer.size:
                return offer.size
        return None

    def session(self):
        """This thread's `requests.Session`."""
        if not hasattr(self.sessions, "session"):
            self.sessions.session = open_session()
        return self.sessions.session

    def obtain(self, step):
        """Do what a step says. Returns its `Outcome`."""
        item = step.item
        try:
            if step.state == "present":
                return Outcome(item, "present")
            if step.state == "missing":
                return self.fetch(item)
            if step.state == "unrecorded":
                return self.adopt(item)
            raise self.not_published(item, "its size, or its recorded sha256, is another")
        except InputError as error:
            return Outcome(item, "failed", (str(error),))
        except OSError as error:
            reason = f"cannot write {self.folder / item.path}: {error.strerror or error}"
            return Outcome(item, "failed", (f"{reason}; a folder that can be written is needed",))

    def not_published(self, item, what):
        return InputError(
            f"{self.folder / item.path} is there, but it is not the published file ({what}); move it away to have "
            "that fetched"
        )

    def fetch(self, item):
        """Try the sources in their order."""
        part, record = part_of(self.folder / item.path), self.checksums.get(item.path)
        expected, failures = self.expected(item, record), []
        for source in sources_of(item, self.mirror):
            transfer = Transfer(
                self.session(),
                source,
                part,
                expected,
                patience=self.patience,
                hosts=self.hosts,
                stop=self.stop,
                advance=self.progress.advanced,
            )
            try:
                size, sha256, announced = transfer.run()
                self.install(item, part, Record(size, sha256, source.shown, _trust(item, announced)), record)
                return Outcome(item, "fetched")
            except (SourceError, ArchiveError) as error:
                if isinstance(error, ArchiveError):
                    remove_part(part)
                failures.append(f"{source.shown}: {error}")
        return Outcome(item, "failed", tuple(failures))

    def expected(self, item, record):
        file = item.file
        if file.sha256 is not None or record is None or record.sha256 is None:
            return Expected(file.size, file.sha256)
        return Expected(
            file.size or record.size,
            record.sha256,
            f"so it differs from the one first downloaded on {record.date}; if the new one is to be trusted, remove "
            f"the entry {item.path!r} from {self.checksums.path}",
        )

    def install(self, item, part, new, earlier):
        """Give a verified part its name and record it. An archive is unpacked, and not kept."""
        target = self.folder / item.path
        members = {}
        if item.file.is_archive:
            members = unpack(part, target, item.file.members)
        else:
            os.replace(part, target)
        if earlier is not None and earlier.sha256 == new.sha256:
            trust = earlier.trust if new.trust == "first use" else new.trust
            new = replace(new, trust=trust, date=earlier.date)
        self.checksums.put(item.path, replace(new, members=members))
        remove_part(part)

    def adopt(self, item):
        """Check and record what is there already: the user, or a run that was killed, has put it there."""
        path = self.folder / item.path
        if item.file.is_archive:
            files = sorted(file for file in path.rglob("*") if file.is_file())
            members = {str(file.relative_to(path)): (file.stat().st_size, sha256_of(file)) for file in files}
            record = Record(None, None, "found in the folder", "first use", members=members)
        else:
            sha256, known, trust = sha256_of(path), item.file.sha256, "registry"
            if known is None:
                known, trust = self.ask_hub(item), "hub"
            if known not in (None, sha256):
                raise self.not_published(item, f"its sha256 is {sha256} instead of {known}")
            trust = trust if known else "first use"
            record = Record(path.stat().st_size, sha256, "found in the folder", trust)
        self.checksums.put(item.path, record)
        remove_part(part_of(path))
        return Outcome(item, "checked")

    def ask_hub(self, item):
        """The sha256 that the hub announces, or None where it cannot be reached or says none."""
        for source in sources_of(item):
            offer = ask(self.session(), source, self.patience.timeout) if source.is_hub else None
            if offer is not None and offer.sha256:
                return offer.sha256
        return None


def _trust(item, announced):
    if item.file.sha256 is not None:
        return "registry"
    return "hub" if announced else "first use"


@contextlib.contextmanager
def _locked(folder):
    """Have the folder to this process. The system gives the lock back when the process dies."""
    from filelock import FileLock, Timeout

    if folder.is_file():
        raise InputError(f"cannot write into {folder}: it is a file; a folder that can be written is accepted")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _logger.info("another download into %s is under way; waiting for its end", folder)
            lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write into {folder}: {reason}; a folder that can be written is accepted") from error
    try:
        yield
    finally:
        lock.release()
