"""Expand a short prompt into a detailed description, by a language model behind an OpenAI-compatible server.

    python -m scripts.beautify_prompt --base-url http://127.0.0.1:8000/v1 --model Qwen2.5-7B-Instruct --prompt "a fox"

vLLM, SGLang, llama.cpp and those of the cloud are such servers. OPENAI_BASE_URL and OPENAI_API_KEY of the environment
count where the options are left out. The description is printed; what cannot be made into one exits with 2.
"""

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppdiffusers_ext.options import option

from .command import ArgumentParser, run
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.chat.client import Client

URL_VARIABLE, KEY_VARIABLE = "OPENAI_BASE_URL", "OPENAI_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions):
    prompt: str = option(help="what is to be seen", metavar="TEXT")
    model: str = option(help="name of the server's model", metavar="NAME")
    base_url: str | None = option(
        None, help="base of the server's API, as http://HOST/v1", unset=f"{URL_VARIABLE} of the environment"
    )
    api_key: str | None = option(
        None, help="key of the server", unset=f"{KEY_VARIABLE} of the environment", metavar="KEY"
    )
    attempts: int = option(5, 1, 100, help="number of answers until one can be used")
    timeout: float = option(120.0, 0.1, 86_400, help="seconds that an answer may take", metavar="SECONDS")
    seed: int = option(0, 0, 2**31 - 1, help="seed of what the model draws")


def make_client(url: str | None, model: str | None, key: str | None, flags: str, timeout: float = 120.0) -> "Client":
    """The client of a server that options name; the environment says what they leave out.

    Args:
        url, model, key: None for those that are not given.
        flags: the options that name them, for messages.

    Raises:
        InputError: no server, no model, or values that are none.
    """
    from ppdiffusers_ext.chat.client import Client, Server
    from ppdiffusers_ext.errors import InputError

    url = os.environ.get(URL_VARIABLE, "") if url is None else url
    key = os.environ.get(KEY_VARIABLE, "") if key is None else key
    if not url or not model:
        raise InputError(f"there is no {'model' if url else 'server'}; {flags} are needed, such as http://HOST/v1 and "
                         "the name of a model that the server has")  # fmt: skip
    return Client(Server(url=url, model=model, api_key=key, timeout=timeout))


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.beautify_prompt", __doc__, Options)


def _work(options: Options) -> None:
    from ppdiffusers_ext.chat.rewriting import beautify

    client = make_client(options.base_url, options.model, options.api_key, "--base-url and --model", options.timeout)
    print(beautify(options.prompt, client, options.attempts, options.seed))


def main(arguments: list[str] | None = None) -> int:
    """Run the command: its exit code."""
    return run(make_parser(), _work, arguments)


if __name__ == "__main__":
    sys.exit(main())
