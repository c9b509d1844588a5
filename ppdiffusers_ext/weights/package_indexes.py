"""Package indexes as sources: "pypi:NAME==VERSION" and "npm:NAME@VERSION", at whatever index pip and npm would ask.

PyPI's interface is the simple one (PEP 503 and its JSON form, PEP 691), at PIP_INDEX_URL; npm's registry is at
NPM_CONFIG_REGISTRY. Both say where the file of a package lies, which may be on another server; the hashes that must
agree are those of our own registry.
"""

from __future__ import annotations

import html.parser
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import parse_json
from ppdiffusers_ext.weights.answers import SourceError, said
from ppdiffusers_ext.weights.exchange import Dropped, open_answer

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.exchange import Patience
    from ppdiffusers_ext.weights.sessions import Session

_PYPI, _NPM = "https://pypi.org/simple", "https://registry.npmjs.org"
_PYPI_FILES = "https://files.pythonhosted.org/packages"
_VARIABLES = {"pypi": ("PIP_INDEX_URL",), "npm": ("NPM_CONFIG_REGISTRY", "npm_config_registry")}
_DEFAULTS = {"pypi": _PYPI, "npm": _NPM}
_BASE = re.compile(
    r"(pypi):([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!_-]+)|(npm):((?:@[a-z0-9._~-]+/)?[a-z0-9._~-]+)@([A-Za-z0-9.+-]+)"
)
_ACCEPTED = {"pypi": "application/vnd.pypi.simple.v1+json, text/html;q=0.2", "npm": "application/json"}
_MOST_PAGE = 32 << 20  # bytes: the pages of packages with thousands of files have some ten million


@dataclass(frozen=True)
class PackageAddress:
    """A package in an index. `kind` is "pypi" or "npm"."""

    kind: str
    name: str
    version: str

    @staticmethod
    def of(base: str) -> PackageAddress | None:
        """That of a source of the registry, or None where it is one of another kind."""
        found = _BASE.fullmatch(base)
        if found is not None:
            kind, name, version = (part for part in found.groups() if part is not None)
            return PackageAddress(kind, name, version)
        if base.startswith(("pypi:", "npm:")):
            raise InputError(
                f"source {shown(base)} names no package; pypi:NAME==VERSION and npm:NAME@VERSION are accepted"
            )
        return None

    @property
    def page(self) -> str:
        """The address at the index of the page that lists the files."""
        index = _index_of(self.kind)
        if self.kind == "pypi":
            return f"{index}/{self._normalised}/"
        return f"{index}/{quote(self.name, safe='@')}/{quote(self.version)}"

    def usual_address(self, archive: str) -> str:
        """Where a file lies without the index being asked: for lists of addresses."""
        if self.kind == "npm":
            return f"{_index_of('npm')}/{quote(self.name)}/-/{quote(archive)}"
        parts = archive.removesuffix(".whl").split("-")
        tag = parts[-3] if archive.endswith(".whl") and len(parts) >= 5 else "source"
        return f"{_PYPI_FILES}/{tag}/{self._normalised[0]}/{self._normalised}/{quote(archive)}"

    def member(self, path: str) -> str:
        """The name in the package's file of a file in the package."""
        return f"package/{path}" if self.kind == "npm" else path

    @property
    def _normalised(self) -> str:
        return re.sub("[-_.]+", "-", self.name).lower()


def find_file(session: Session, address: PackageAddress, archive: str, patience: Patience) -> str:
    """The address of a package's file, as the index gives it.

    Args:
        archive: name of the file; an npm package has one only, whatever its name.

    Raises:
        SourceError: the index cannot be asked, or does not have it.
    """
    page = address.page
    text, is_json, final = _get(session, page, _ACCEPTED[address.kind], patience)
    if address.kind == "npm":
        values = _json(text, page)
        dist = values.get("dist") if isinstance(values, dict) else None
        found = dist.get("tarball") if isinstance(dist, dict) else None
    else:
        found = (_listed_in_json(_json(text, page)) if is_json else _listed_in_html(text)).get(archive)
    if not isinstance(found, str):
        raise SourceError(f"the index has no file {archive}")
    return _checked(final, found)


def _index_of(kind: str) -> str:
    """The address of an index. Raises InputError where the environment names one that is none."""
    from ppdiffusers_ext.weights.sources import check_address

    for name in _VARIABLES[kind]:
        if value := os.environ.get(name):
            check_address(value, name)
            return value.rstrip("/")
    return _DEFAULTS[kind]


def _get(session: Session, url: str, kinds: str, patience: Patience) -> tuple[str, bool, str]:
    """The text of a page, whether it is JSON, and the address that it came from in the end."""
    try:
        headers = {"Accept": kinds, "Accept-Encoding": "identity"}
        with open_answer(session, "GET", url, patience, headers) as answer:
            if answer.head.status_code != 200:
                raise SourceError(f"the index answers {answer.head.status_code}")
            content = b""
            for piece in answer.pieces():
                content += piece
                if len(content) > _MOST_PAGE:
                    raise SourceError(f"the index sends a page of more than {_MOST_PAGE >> 20} MiB")
            kind = answer.head.headers.get("Content-Type", "")
            final = answer.head.url or url
    except Dropped as error:
        raise SourceError(str(error)) from error
    try:
        return content.decode(), "json" in kind, final
    except UnicodeDecodeError as error:
        raise SourceError("the index sends a page that is no text") from error


def _json(text: str, page: str) -> Any:
    try:
        return parse_json(text, "the index's page", "a package index is accepted")
    except InputError as error:
        raise SourceError(str(error)) from error


def _listed_in_json(values: Any) -> dict[str, Any]:
    files = values.get("files") if isinstance(values, dict) else None
    entries = [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
    return {entry["filename"]: entry.get("url") for entry in entries if isinstance(entry.get("filename"), str)}


class _Links(html.parser.HTMLParser):
    """The links of a page by their texts, which are the names of the files."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}
        self._link: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._link = dict(attrs).get("href") if tag == "a" else None

    def handle_endtag(self, tag: str) -> None:
        self._link = None

    def handle_data(self, data: str) -> None:
        if self._link:
            self.found[data.strip()] = self._link


def _listed_in_html(text: str) -> dict[str, Any]:
    links = _Links()
    links.feed(text)
    return links.found


def _checked(page: str, link: str) -> str:
    """The whole address of a link. A user's name and password go to the index's own server only."""
    try:
        target = urlsplit(urljoin(page, link.partition("#")[0]))
        is_fine = target.scheme in ("http", "https") and bool(target.hostname) and (target.port or 1) > 0
        is_fine = is_fine and link.isascii() and link.isprintable() and " " not in link
    except ValueError:
        is_fine = False
    if not is_fine:
        raise SourceError(f"the index gives an address that is none ({said(link)})")
    origin = urlsplit(page)
    if origin.scheme == "https" and target.scheme == "http":
        raise SourceError(f"the index leads from https to http ({said(link)}), where anybody may change the file")
    if target.netloc == origin.netloc.rpartition("@")[2]:
        target = target._replace(netloc=origin.netloc)
    return urlunsplit(target)
