"""Serve the page and REST: jobs in a queue, for this machine alone unless told otherwise.

    python -m scripts.serve
    python -m scripts.serve --port 7860 --data studio
    python -m scripts.serve --host 0.0.0.0 --models models --loras loras

The page is at http://127.0.0.1:7860/, the description of REST at /docs. With a --host that others reach, clients need
a token: that of --token or of the environment variable PPDIFFUSERS_EXT_TOKEN, or one that is made and printed. Ctrl-C
ends the server; jobs that wait, and the one that runs, go on when it is started again with the same --data.
"""

import dataclasses
import os
import sys
from dataclasses import dataclass

from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.server.settings import ServerSettings

from .command import ArgumentParser, run
from .options import CommandOptions

_ADDRESS = "Address"
TOKEN = "PPDIFFUSERS_EXT_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ServerSettings):
    host: str = option(
        "127.0.0.1", help="address to listen at; 0.0.0.0 is all of this machine's", group=_ADDRESS, metavar="HOST"
    )
    port: int = option(7860, 0, 65535, help="port to listen at; 0 is any that is free", group=_ADDRESS)
    token: str | None = option(
        None,
        help="token that clients need, of 16 characters or more; the list of processes shows it, an environment "
        "variable does not",
        unset="PPDIFFUSERS_EXT_TOKEN; or one that is made, where others reach the host; or none",
        group=_ADDRESS,
    )
    allow_name: list = option(
        list,
        help="further name by which browsers call this server, such as that of a proxy; may be repeated",
        group=_ADDRESS,
        metavar="NAME",
        repeats=True,
    )
    data: str = path_option(
        "output/server", help="folder of jobs, uploads and results, which goes on with", group=_ADDRESS, metavar="DIR"
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.serve", __doc__, Options)


def work(options: Options) -> int:
    """Serve until Ctrl-C."""
    from pathlib import Path

    from ppdiffusers_ext.server import serving

    serving.check_installed()

    from ppdiffusers_ext.server.security import check_token, is_loopback, new_token

    token = options.token or os.environ.get(TOKEN) or None
    if token is not None:
        check_token(token)
    is_made = token is None and not is_loopback(options.host)
    if is_made:
        token = new_token()
    settings = ServerSettings(
        **{item.name: getattr(options, item.name) for item in dataclasses.fields(ServerSettings)}
    )
    listening = serving.bind(options.host, options.port)
    address = serving.address_of(listening)

    def ready() -> None:
        print(f"page          {address}{f'?token={token}' if is_made else ''}", flush=True)
        print(f"REST          {address}docs", flush=True)
        if token is not None:
            print(f"token         {token if is_made else 'as given'}", flush=True)

    with listening:
        serving.serve(listening, Path(options.data), settings, token, frozenset(options.allow_name), ready)
    print("ended         jobs that are not done go on with the same --data")
    return 0


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
