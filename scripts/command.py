"""What all commands share: how errors are told, notes are shown, and work is stopped."""

import argparse
import logging
import sys
import traceback
import warnings

from ppdiffusers_ext.weights.selection import checkpoint_key


class ArgumentParser(argparse.ArgumentParser):
    """Tells errors as `error: what; what would be accepted` and exits with 2; has --debug.

    Args:
        reads_checkpoints: whether there is a --checkpoint-key, which `run` observes.
    """

    def __init__(self, reads_checkpoints=False, **kwargs):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error, and all log lines")
        if reads_checkpoints:
            self.add_argument(
                "--checkpoint-key",
                metavar="NAME",
                help="of the tensors to read where a weight file has several dicts of them, such as ema "
                "(default: state_dict, the averaged ones, model; docs/weights.md)",
            )

    def error(self, message):
        print(f"error: {message}; --help lists what is accepted", file=sys.stderr)
        raise SystemExit(2)


def run(parser, work, arguments=None):
    """Parse the arguments and call `work(options)`. Returns the exit code: 0 or what it returned, 2 for bad input,
    130 for Ctrl-C.
    """
    options = parser.parse_args(arguments)
    _set_up_notes(options.debug)
    try:
        with checkpoint_key(getattr(options, "checkpoint_key", None)):
            return work(options) or 0
    except KeyboardInterrupt:
        print("\nerror: stopped by Ctrl-C; nothing unfinished is left behind", file=sys.stderr)
        return 130
    except MemoryError:
        message = "out of memory; a smaller size, fewer --context-frames or --sequential-guidance need less"
        return _fail(message, options.debug)
    except Exception as error:
        from ppdiffusers_ext.errors import InputError

        if not isinstance(error, InputError):
            raise
        return _fail(str(error), options.debug)


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
