"""Where a file can be had: addresses in the order they are tried, and who may see the token."""

import os
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.version import __version__
from ppdiffusers_ext.weights.answers import Offer, is_html, offer_of

_HUB = "hf://"


@dataclass(frozen=True)
class Source:
    """An address of one file. Only the hub's own addresses are asked with the user's token."""

    url: str
    page: str = ""  # the hub's page of the repository; "" for sources that are not the hub

    @property
    def is_hub(self):
        return bool(self.page)

    @property
    def shown(self):
        """The address without user name and password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def sources_of(item, mirror=None):
    """The `Source`s of an `Item` in the order they are to be tried.

    With a mirror, that is first asked in the hub's layout, then in that of the folder of all weights; an archive is
    looked for beside the folder it fills.
    """
    sources = []
    if mirror is not None:
        mirror = mirror.rstrip("/")
        for base in item.weights.sources:
            if base.startswith(_HUB):
                repository, path = _hub_path(base, item.remote)
                sources.append(Source(f"{mirror}/{repository}/resolve/main/{quote(path)}"))
        local = item.path
        if item.file.is_archive:
            local = os.path.join(os.path.dirname(item.path), os.path.basename(item.remote))
        sources.append(Source(f"{mirror}/{quote(local)}"))
    for base in item.weights.sources:
        if base.startswith(_HUB):
            sources.append(_hub_source(*_hub_path(base, item.remote)))
        else:
            sources.append(Source(f"{base.rstrip('/')}/{quote(item.remote)}"))
    return sources


def check_address(url, option):
    """Raise InputError unless `url` is one that files can be fetched from."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
    if not port_is_fine or parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise InputError(f"{option} {url!r} is not an address; http://HOST[/PATH] or https://HOST[/PATH] is accepted")


def hub_endpoint():
    """The address of the hub: HF_ENDPOINT, or Hugging Face. Raises InputError where it is not an address."""
    from huggingface_hub import constants

    # huggingface_hub reads the variable when it is imported, which may have been before it was set.
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    check_address(endpoint, "HF_ENDPOINT")
    return endpoint


def check_hub():
    """Raise InputError where HF_ENDPOINT is no address, or the token (HF_TOKEN, or a stored login) cannot be one."""
    from huggingface_hub import get_token

    hub_endpoint()
    if not (get_token() or "").isascii():
        raise InputError("the hub's token has characters that no token has; set HF_TOKEN to one like hf_...")


def open_session():
    """A `requests.Session` for one thread. Proxies are those of the environment."""
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = f"ppdiffusers_ext/{__version__}"
    # Sizes, ranges and hashes are of the file as it is, not of a compressed transfer.
    session.headers["Accept-Encoding"] = "identity"
    return session


def authorise(source):
    """What `requests` is to be given as `auth`: adds the token (HF_TOKEN, or a stored login) for the hub only.

    ~/.netrc overwrites a header, but not this. When the hub redirects to another host, `requests` drops it.
    """
    if not source.is_hub:
        return None
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers(library_name="ppdiffusers_ext", library_version=__version__)

    def add(request):
        request.headers.update(headers)
        return request

    return add


def ask(session, source, timeout):
    """The `Offer` of a source without fetching the file, or None where it gives none. One try.

    timeout: (seconds to connect, seconds to answer).
    """
    import requests

    try:
        options = {"auth": authorise(source), "timeout": timeout}
        response = session.head(source.url, allow_redirects=False, **options)
        if response.is_redirect and "X-Linked-Size" not in response.headers:
            response = session.head(source.url, allow_redirects=True, **options)
    except requests.RequestException:
        return None
    offer = offer_of(response)
    if offer != Offer() and response.status_code < 400:
        return offer
    length = response.headers.get("Content-Length", "")
    if response.status_code != 200 or not length.isdecimal() or is_html(response, source.url):
        return None
    return Offer(int(length))


def _hub_path(base, remote):
    """ "hf://OWNER/NAME/FOLDER" and a name in it: ("OWNER/NAME", "FOLDER/name")."""
    owner, name, *folders = base.removeprefix(_HUB).split("/")
    return f"{owner}/{name}", "/".join([*folders, remote])


def _hub_source(repository, path):
    from huggingface_hub import hf_hub_url

    endpoint = hub_endpoint()
    return Source(hf_hub_url(repository, path, endpoint=endpoint), page=f"{endpoint}/{repository}")
