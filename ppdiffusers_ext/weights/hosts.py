"""Which servers of a run can be reached, and by which proxy: found out before anybody waits for one of them."""

import os
import queue
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ppdiffusers_ext.errors import InputError, shown

_PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


@dataclass(frozen=True)
class Hosts:
    """Which servers have answered in this run, and which are not to be asked (again), by host and port.

    silent: host and port -> the reason.
    """

    answered: set = field(default_factory=set)
    silent: dict = field(default_factory=dict)

    @property
    def is_offline(self) -> bool:
        """Whether no server has answered so far."""
        return not self.answered


def check_proxies(urls: Iterable[str]) -> None:
    """Raise InputError where the environment names a proxy for one of the addresses that cannot be used."""
    for url in sorted({f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in urls}):
        proxy = _proxy_of(url)
        if proxy is None:
            continue
        name = _variable_of(proxy, urlsplit(url).scheme)
        scheme = _scheme_of(proxy)
        if scheme is None:
            raise InputError(
                f"{name} {shown(_without_password(proxy))} is not the address of a proxy; "
                f"http://HOST:PORT or socks5h://HOST:PORT is accepted, with one of {', '.join(_PROXIES)}"
            )
        if scheme.startswith("socks") and not _has_socks():
            raise InputError(
                f"{name} names a SOCKS proxy ({shown(_without_password(proxy))}), for which the package PySocks is "
                "needed; `pip install pysocks` installs it, or name a proxy of http:// there"
            )


def _proxy_of(url: str) -> str | None:
    from requests.utils import get_environ_proxies, select_proxy

    return select_proxy(url, get_environ_proxies(url)) or None


def _scheme_of(proxy: str) -> str | None:
    """The scheme of a proxy's address, one of _PROXIES, or None where it is no address."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return None
    # What is no letter of a name would fail in http.client, after long waits.
    name = parts.hostname or ""
    is_fine = port_is_fine and name.isascii() and name.isprintable() and not set(name) & set(" \\^`{|}<>\"'")
    return parts.scheme if name and is_fine and parts.scheme in _PROXIES else None


def _variable_of(proxy: str, scheme: str) -> str:
    """The variable of the environment that names a proxy."""
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if os.environ.get(name) == proxy:
            return name
    return "the proxy of this system,"


def _without_password(proxy: str) -> str:
    start, _, rest = proxy.rpartition("@")
    return f"{start.partition('://')[0]}://{rest}" if "://" in start else rest


def _has_socks() -> bool:
    try:
        import socks  # noqa: F401
    except ImportError:
        return False
    return True


def find_silent(urls: Iterable[str], hosts: Hosts, seconds: float) -> None:
    """Put the servers of `urls` into `hosts.silent` if no name of any can be resolved: this machine is offline.

    Where one can, an unknown name of another may be known in a moment, and the transfers find out. Names behind a
    proxy are the proxy's to resolve.

    seconds: how long an answer is waited for; a resolver without a network may take minutes.
    """
    by_name: dict = {}
    for url in urls:
        parts = urlsplit(_with_scheme(_proxy_of(url)) or url)
        by_name.setdefault((parts.hostname, parts.port or 0), set()).add(urlsplit(url).netloc)
    reasons = _resolve(by_name, seconds)
    if by_name and None not in reasons.values():
        for name, netlocs in by_name.items():
            hosts.silent.update(dict.fromkeys(netlocs, reasons[name]))


def _with_scheme(proxy: str | None) -> str | None:
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _resolve(names: dict[tuple[str, int], set[str]], seconds: float) -> dict[tuple[str, int], str | None]:
    """(host, port) -> None where its name can be resolved, else the reason."""
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def work(host: str, port: int) -> None:
        try:
            socket.getaddrinfo(host, port or None)
            answers.put(((host, port), None))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            answers.put(((host, port), f"the name {host} cannot be resolved ({reason})"))

    reasons: dict[tuple[str, int], str | None] = {
        (host, port): f"the name {host} cannot be resolved (no answer)" for host, port in names
    }
    for name in names:
        threading.Thread(target=work, args=name, daemon=True).start()
    end = time.monotonic() + seconds
    for _ in names:
        try:
            name, reason = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        reasons[name] = reason
        if reason is None:  # one is enough
            break
    return reasons
