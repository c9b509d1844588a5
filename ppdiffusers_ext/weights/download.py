"""Fetch what is missing of some published checkpoints into a folder, and record what was verified.

    from ppdiffusers_ext.pipelines.published import PUBLISHED
    from ppdiffusers_ext.weights.download import download
    from ppdiffusers_ext.weights.inventory import select

    outcomes = download(select(PUBLISHED, names=["DWPose"]), "pretrained_weights")

A file that is there and is not the right one is never overwritten. What a run that was stopped has left is continued.
"""

import logging
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import check_name
from ppdiffusers_ext.weights.answers import Offer, SourceError
from ppdiffusers_ext.weights.archives import ArchiveError, unpack
from ppdiffusers_ext.weights.checksums import Checksums, Record, md5_of, sha256_of
from ppdiffusers_ext.weights.entries import Weights
from ppdiffusers_ext.weights.exchange import Patience
from ppdiffusers_ext.weights.hosts import Hosts, check_proxies, find_silent
from ppdiffusers_ext.weights.inventory import Item, items_of, state_of
from ppdiffusers_ext.weights.locking import locked
from ppdiffusers_ext.weights.packed import check_converter, take_out
from ppdiffusers_ext.weights.parallel import in_parallel
from ppdiffusers_ext.weights.parts import noted_sha256, part_of, remove_part, sync
from ppdiffusers_ext.weights.sources import Source, ask, check_address, check_hub, resolved, sources_of
from ppdiffusers_ext.weights.transfer import Expected, Transfer, git_sha1_of

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.sessions import Session

_logger = logging.getLogger(__name__)

_PROBES = 8


@dataclass(frozen=True)
class Step:
    """What is to be done for one item.

    state: as in `inventory.STATES`.
    size: bytes to fetch or to check; None where nobody knows.
    done: bytes that an earlier run has left.
    is_rounded: the size is the one that the publisher rounded.
    """

    item: Item
    state: str
    size: int | None
    done: int = 0
    is_rounded: bool = False


@dataclass(frozen=True)
class Plan:
    """All steps, and the free bytes of the disk."""

    steps: tuple
    free: int

    @property
    def to_fetch(self) -> list[Step]:
        return [step for step in self.steps if step.state == "missing"]

    @property
    def bytes_to_fetch(self) -> int:
        """Of those whose size is known."""
        return sum(step.size - step.done for step in self.to_fetch if step.size is not None)

    @property
    def bytes_needed(self) -> int:
        """On the disk: weights do not compress, so an archive and its content take at least twice its size."""
        files = [(step, step.item.file) for step in self.steps if step.state in ("missing", "packed")]
        archives = [step for step, file in files if file.is_archive or file.packed is not None]
        return self.bytes_to_fetch + sum(step.size for step in archives if step.size is not None)


@dataclass(frozen=True)
class Outcome:
    """What became of an item: "present" (nothing was done), "checked", "fetched", or "failed" for some reasons."""

    item: Item
    result: str
    reasons: tuple = ()


class Progress:
    """Is told how a download goes on; this one keeps it to itself. The calls come from several threads."""

    def planned(self, plan: Plan) -> None:
        """Before the first byte."""

    def advanced(self, count: int) -> None:
        """So many bytes came (or, negative, were thrown away)."""

    def finished(self, outcome: Outcome) -> None:
        """One item is done with."""


def download(
    entries: Sequence[Weights],
    folder: str | os.PathLike,
    mirror: str | None = None,
    jobs: int = 4,
    patience: Patience | None = None,
    progress: Progress | None = None,
    offline: bool = False,
) -> list[Outcome]:
    """Bring the files of `entries` (`Weights`) into `folder`. Returns an `Outcome` for each, in their order.

    A file that cannot be fetched does not stop the others: see its outcome. Of two downloads into one folder, the
    second waits for the first.

    mirror: an address that is asked first.
    jobs: files at once.
    offline: only check and record what was put into the folder by hand; no connection is opened. An archive is
        unpacked from the place that `Item.target` names.

    Raises InputError for a bad address, proxy or token, a folder that cannot be written, checksums.json being damaged,
    or a disk that has too little room; nothing has been fetched then.
    """
    folder = check_name(folder, "the folder of the weights", "a folder, or a name for a new one, is accepted")
    items = items_of(entries)
    if not offline:
        if mirror is not None:
            check_address(mirror, "--mirror")
        check_hub()
    run = _Run(folder, mirror, jobs, patience or Patience(), progress or Progress(), offline)
    states = [run.state(item) for item in items]
    check_converter(item.file for item, state in zip(items, states) if state in ("missing", "packed"))
    if not offline:
        run.find_hosts([item for item, state in zip(items, states) if state != "present"])
    # Without the lock, so that a folder in which all is there need not be writable, and one that is not there is not
    # made for nothing.
    if all(state == "present" or (offline and state in ("missing", "wrong")) for state in states):
        return run.carry_out(items)
    with locked(folder):
        # Whoever had the lock before may have brought something.
        run.checksums = Checksums(folder)
        return run.carry_out(items)


class _Run:
    """One call of `download`."""

    def __init__(
        self, folder: Path, mirror: str | None, jobs: int, patience: Patience, progress: Progress, offline: bool
    ) -> None:
        self.folder, self.mirror, self.jobs, self.patience, self.progress = folder, mirror, jobs, patience, progress
        self.offline = offline
        self.checksums = Checksums(folder)
        self.stop = threading.Event()
        self.sessions, self.hosts = threading.local(), Hosts()

    def state(self, item: Item) -> str:
        return state_of(item, self.folder, self.checksums.get(item.path))

    def find_hosts(self, items: Sequence[Item]) -> None:
        """Find out which servers can be reached. Raises InputError for a proxy that cannot be used."""
        urls = [source.url for item in items for source in sources_of(item, self.mirror)]
        check_proxies(urls)
        find_silent(urls, self.hosts, self.patience.resolve_timeout)

    def carry_out(self, items: Sequence[Item]) -> list[Outcome]:
        plan = self.plan(items)
        self.progress.planned(plan)
        if plan.bytes_needed > plan.free and not self.offline:
            raise InputError(
                f"{plan.bytes_needed} bytes are needed in {self.folder}, but {plan.free} are free; free some space, "
                "choose another --dest, or fetch less by --only"
            )
        outcomes = {}
        for outcome in in_parallel(self.obtain, plan.steps, self.jobs, self.stop):
            outcomes[outcome.item.path] = outcome
            self.progress.finished(outcome)
        return [outcomes[item.path] for item in items]

    def plan(self, items: Sequence[Item]) -> Plan:
        steps = dict(in_parallel(self.step, enumerate(items), _PROBES))
        existing = self.folder.absolute()
        while not existing.exists():
            existing = existing.parent
        return Plan(tuple(steps[index] for index in range(len(items))), shutil.disk_usage(existing).free)

    def step(self, numbered: tuple[int, Item]) -> tuple[int, Step]:
        index, item = numbered
        state, record = self.state(item), self.checksums.get(item.path)
        path, part = self.folder / item.path, part_of(self.folder / (item.target if item.file.packed else item.path))
        if state == "packed":
            return index, Step(item, state, (self.folder / item.target).stat().st_size)
        if state != "missing":
            noted = record.size if record else None
            size = path.stat().st_size if path.is_file() else noted
            return index, Step(item, state, size)
        exact = (item.file.packed or item.file).size or (record and record.size) or self.ask_size(item)
        size, done = exact or item.file.about, part.stat().st_size if part.is_file() else 0
        return index, Step(item, state, size, done if size is None else min(done, size), is_rounded=exact is None)

    def ask_size(self, item: Item) -> int | None:
        # Nobody wants to wait long for a number in a table.
        quick = min(self.patience.read_timeout, self.patience.connect_timeout)
        patience = replace(self.patience, read_timeout=quick, head_timeout=min(2 * quick, self.patience.head_timeout))
        for source in self.sources(item):
            if urlsplit(source.url).netloc not in self.hosts.silent:
                offer = ask(self.session(), source, patience)
                if offer is not None and offer.size:
                    return offer.size
        return None

    def sources(self, item: Item) -> list[Source]:
        return [] if self.offline else sources_of(item, self.mirror)

    def session(self) -> "Session":
        """This thread's `Session`."""
        from ppdiffusers_ext.weights.sessions import Session  # requests, which takes a while to import

        if not hasattr(self.sessions, "session"):
            self.sessions.session = Session()
        return self.sessions.session

    def obtain(self, step: Step) -> Outcome:
        """Do what a step says. Returns its `Outcome`."""
        item = step.item
        try:
            if step.state == "present":
                return Outcome(item, "present")
            if step.state == "missing":
                return self.fetch(item)
            if step.state == "packed":
                return self.unpack_what_is_there(item)
            if step.state == "unrecorded":
                return self.adopt(item)
            raise self.not_published(item.path, "its size, or its recorded sha256, is another")
        except InputError as error:
            return Outcome(item, "failed", (str(error),))
        except OSError as error:
            reason = f"cannot write {self.folder / item.path}: {error.strerror or error}"
            return Outcome(item, "failed", (f"{reason}; a folder that can be written is needed",))

    def not_published(self, path: str | Path, what: str) -> InputError:
        return InputError(
            f"{self.folder / path} is there, but it is not the published file ({what}); move it away to have "
            "that fetched"
        )

    def fetch(self, item: Item) -> Outcome:
        """Try the sources in their order."""
        failures = []
        if self.offline:
            return Outcome(item, "failed", (f"{self.folder / item.target} is not there",))
        for source in sources_of(item, self.mirror):
            try:
                self.fetch_from(item, source)
                return Outcome(item, "fetched")
            except (SourceError, ArchiveError) as error:
                failures.append(f"{source.shown}: {error}")
        return Outcome(item, "failed", tuple(failures))

    def fetch_from(self, item: Item, source: Source) -> None:
        """Fetch and install a file. Raises SourceError or ArchiveError where the source does not give it."""
        if urlsplit(source.url).netloc not in self.hosts.silent:  # which the transfer tells
            source = resolved(self.session(), source, self.patience)
        packed = item.file.packed if source.package is not None else None
        part, record = part_of(self.folder / (item.target if packed else item.path)), self.checksums.get(item.path)
        # An archive whose hash nobody knows shows only here that it was damaged on its way: it starts over once.
        for is_last in (False, True):
            transfer = Transfer(
                self.session(),
                source,
                part,
                self.expected(item, record) if packed is None else Expected(packed.size, packed.sha256),
                patience=self.patience,
                hosts=self.hosts,
                stop=self.stop,
                advance=self.progress.advanced,
            )
            fetched = transfer.run()
            trust = "registry" if item.file.sha256 is not None else "hub" if fetched.was_announced else "first use"
            new = Record(fetched.size, fetched.sha256, source.shown, trust)
            try:
                return self.install(item, part, new, record, is_packed=packed is not None)
            except ArchiveError:
                remove_part(part)
                self.progress.advanced(-fetched.size)
                if is_last or fetched.is_known:
                    raise

    def expected(self, item: Item, record: Record | None) -> Expected:
        file = item.file
        if file.sha256 is not None or record is None or record.sha256 is None:
            return Expected(file.size, file.sha256, file.md5)
        return Expected(
            file.size or record.size,
            record.sha256,
            otherwise=f"so it differs from the one first downloaded on {record.date}; if the new one is to be "
            f"trusted, remove the entry {item.path!r} from {self.checksums.path}",
        )

    def install(self, item: Item, part: Path, new: Record, earlier: Record | None, is_packed: bool = False) -> None:
        """Give a verified part its name and record it. An archive or a package is unpacked, and not kept."""
        target = self.folder / item.path
        members = {}
        if is_packed:
            size, sha256 = take_out(part, item.file, target)
            new = replace(new, size=size, sha256=sha256, trust="registry")
        elif item.file.is_archive:
            members = unpack(part, target, item.file.members)
        else:
            os.replace(part, target)
            sync(target.parent)
        if earlier is not None and earlier.sha256 == new.sha256:
            trust = earlier.trust if new.trust == "first use" else new.trust
            new = replace(new, trust=trust, date=earlier.date)
        self.checksums.put(item.path, replace(new, members=members))
        remove_part(part)

    def adopt(self, item: Item) -> Outcome:
        """Check and record what is there already: the user, or a run that was killed, has put it there."""
        path = self.folder / item.path
        if item.file.is_archive:
            files = sorted(file for file in path.rglob("*") if file.is_file())
            members = {str(file.relative_to(path)): (file.stat().st_size, sha256_of(file)) for file in files}
            record = Record(None, None, "found in the folder", "first use", members=members)
        else:
            record = self.check_file(item, path)
        self.checksums.put(item.path, record)
        remove_part(part_of(path))
        return Outcome(item, "checked")

    def unpack_what_is_there(self, item: Item) -> Outcome:
        """Unpack and record an archive that the user has put there. It stays."""
        archive, record = self.folder / item.target, self.checksums.get(item.path)
        if item.file.packed is not None:
            return self.take_out_of_what_is_there(item, archive)
        new = self.check_file(item, archive)
        if record is not None and record.sha256 not in (None, new.sha256):
            raise self.not_published(item.target, f"its sha256 is {new.sha256} instead of {record.sha256}")
        try:
            members = unpack(archive, self.folder / item.path, item.file.members)
        except ArchiveError as error:
            raise self.not_published(item.target, str(error)) from error
        self.checksums.put(item.path, replace(new, members=members))
        return Outcome(item, "checked")

    def take_out_of_what_is_there(self, item: Item, archive: Path) -> Outcome:
        """As `unpack_what_is_there`, of a package: what is taken out of it has a hash of its own."""
        try:
            size, sha256 = take_out(archive, item.file, self.folder / item.path)
        except ArchiveError as error:
            raise self.not_published(item.target, str(error)) from error
        self.checksums.put(item.path, Record(size, sha256, f"found in the folder: {archive.name}", "registry"))
        return Outcome(item, "checked")

    def check_file(self, item: Item, path: Path) -> Record:
        """The `Record` of a file that is there. Raises InputError where it is not the published one."""
        size, sha256 = path.stat().st_size, sha256_of(path)
        known, trust, offer = item.file.sha256, "registry", Offer()
        if known is None:
            offer = self.ask_hub(item)
            known, trust = offer.sha256, "hub"
        if item.file.size not in (None, size):
            raise self.not_published(path.relative_to(self.folder), f"it has {size} bytes instead of {item.file.size}")
        if known not in (None, sha256):
            raise self.not_published(path.relative_to(self.folder), f"its sha256 is {sha256} instead of {known}")
        if item.file.md5 is not None and md5_of(path) != item.file.md5:
            raise self.not_published(path.relative_to(self.folder), f"its md5 is not {item.file.md5}")
        if offer.git_sha1 is not None:
            if git_sha1_of(path) != offer.git_sha1:
                raise self.not_published(path.relative_to(self.folder), "its hash is another than the hub announces")
            known = sha256
        part = part_of(path)
        # A run that was killed before it could record a file has left what it knew of it.
        if not part.exists() and noted_sha256(part, size) not in (None, sha256):
            raise self.not_published(path.relative_to(self.folder), "it was changed after it had been downloaded")
        return Record(size, sha256, "found in the folder", trust if known else "first use")

    def ask_hub(self, item: Item) -> Offer:
        """The `Offer` of the hub; an empty one where it cannot be reached or says nothing."""
        for source in self.sources(item):
            if source.is_hub and urlsplit(source.url).netloc not in self.hosts.silent:
                offer = ask(self.session(), source, self.patience)
                if offer is not None and (offer.sha256 or offer.git_sha1):
                    return offer
        return Offer()
