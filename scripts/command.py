"""What all commands share: how errors are told, notes are shown, and work is stopped."""

import argparse
import contextlib
import logging
import signal
import sys
import traceback
import warnings
from pathlib import Path

from ppdiffusers_ext.data.outputs import moved_by
from scripts.signals import stopped_by_signals


class ArgumentParser(argparse.ArgumentParser):
    """Tells errors as `error: what; what would be accepted` and exits with 2; has --debug."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error, and all log lines")

    def error(self, message):
        print(f"error: {message}; --help lists what is accepted", file=sys.stderr)
        raise SystemExit(2)


def run(parser, work, arguments=None):
    """Parse the arguments and call `work(options)`. Returns the exit code: 0 or what it returned, 2 for bad input,
    130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    options = parser.parse_args(arguments)
    _set_up_notes(options.debug)
    try:
        with stopped_by_signals(), moved_by(given=_given(parser, options)):
            return work(options) or 0
    except KeyboardInterrupt as stop:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\nerror: stopped by {str(stop) or 'Ctrl-C'}; nothing unfinished is left behind", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    except MemoryError as error:
        return _fail(describe(error), options.debug)
    except Exception as error:
        from ppdiffusers_ext.errors import InputError

        if not isinstance(error, InputError):
            raise
        return _fail(str(error), options.debug)


def _given(parser, options):
    """Names of options, as a user writes them, and the texts that were given for them."""
    actions = [(action, getattr(options, action.dest, None)) for action in parser._actions]
    return [
        (action.option_strings[-1] if action.option_strings else action.metavar, str(value))
        for action, value in actions
        if isinstance(value, (str, Path))
    ]


def describe(error):
    """What an exception says to a user: a named error its own words, another one its kind as well."""
    from ppdiffusers_ext.errors import InputError

    if isinstance(error, MemoryError):
        return "out of memory; a smaller size, fewer --context-frames or --sequential-guidance need less"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _fail(message, debug):
    if debug:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    return 2


def _set_up_notes(debug):
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    logger = logging.getLogger("ppdiffusers_ext")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # Paddle and paddlenlp warn at import about compilers and packages that inference does not need.
        warnings.filterwarnings("ignore", module="paddle|paddlenlp|ppdiffusers|_distutils_hack|setuptools")
