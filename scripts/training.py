"""What the training commands do: parse, train, and tell errors as the other commands do."""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from .command import guarded, no_command, tell_error

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def main(name: str, arguments: Sequence[str] | None = None, usage: str = "") -> int:
    """Run a trainer.

    Args:
        name: of a trainer, or another of `training.trainers.JOBS`.
        arguments: list of texts; those of the process if left out.
        usage: the first words of its --help.

    Returns:
        the exit code: 0, 2 for bad input, 130 for Ctrl-C, 1 for a loss that is not finite, a full disk, or another
        process that is lost.
    """
    return guarded(lambda: _main(name, arguments, usage))


def _main(name: str, arguments: Sequence[str] | None, usage: str) -> int:
    from ppdiffusers_ext.data.holding import releasing
    from ppdiffusers_ext.training.logs import quieten_libraries, set_up_logs

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    if not debug:
        quieten_libraries()
    if any(word in ("-h", "--help", "--help-all") for word in arguments):
        return _help(usage, kinds_of(name), "--help-all" in arguments)
    try:
        set_up_logs(debug)
        with releasing():
            return _do(name, arguments, debug)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; the same command goes on from the newest checkpoint", 130, debug)
    except (RuntimeError, OSError, ValueError) as error:
        message, code = _told(error)
        if message is None:
            raise
        return _fail(message, code, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    tell_error(message)
    return code


def _told(error: Exception) -> tuple[str | None, int]:
    """(what an error says to the user, exit code); (None, 1) for what is no word to a user."""
    from ppdiffusers_ext.errors import InputError, NonFiniteError

    if isinstance(error, InputError):
        return str(error), 1 if isinstance(error, NonFiniteError) else 2
    if isinstance(error, OSError) and error.errno in _DISK:
        place = f" ({error.filename or 'a file in the output folder'})"
        return f"{error.strerror}{place}; the same command goes on from the newest checkpoint when it can write", 1
    if "gloo/transport" in str(error):
        return (
            "the connection to another process of this run is lost, whose workerlog may tell why; the same command "
            "goes on from the newest checkpoint"
        ), 1
    return None, 1


def kinds_of(name: str) -> tuple[Any, Any, Any]:
    """The three dataclasses of a trainer's options: of the model, the data and the training."""
    from ppdiffusers_ext.training.trainers import JOBS

    return JOBS[name].kinds


def _help(usage: str, kinds: tuple, everything: bool) -> int:
    from ppdiffusers_ext.packaged import as_called
    from ppdiffusers_ext.training.bounds import fields_of
    from ppdiffusers_ext.training.help import short_help
    from ppdiffusers_ext.training.parser import make_parser

    usage = as_called(usage).strip()
    if everything:
        print(f"{usage}\n\n{make_parser(kinds).format_help()}")
    else:
        own = {name: line for kind in kinds for name, line in getattr(kind, "SHORT_HELP", {}).items()}
        print(short_help(usage, fields_of(kinds), own))
    return 0


def _do(name: str, arguments: list[str], debug: bool) -> int:
    from ppdiffusers_ext.data.existing import hold_outputs
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.training.parser import parse_options
    from ppdiffusers_ext.training.trainers import JOBS
    from ppdiffusers_ext.weights.selection import checkpoint_key

    trainer = JOBS[name]
    model, data, options = parse_options(arguments, trainer.kinds)
    if not options.do_train:
        raise InputError("nothing is to be done; --do_train is accepted")
    is_first = os.environ.get("PADDLE_TRAINER_ID", "0") == "0"  # of the processes of a training, which write together
    if is_first:
        hold_outputs([options.output_dir])
    found = trainer.check(model, data, options)

    from ppdiffusers_ext.training.alike import check_alike
    from ppdiffusers_ext.training.arguments import set_up
    from ppdiffusers_ext.training.groups import leave
    from ppdiffusers_ext.training.logs import set_up_loggers
    from ppdiffusers_ext.training.seeds import choose_seed

    set_up_loggers(debug)
    training = set_up(options)
    check_alike((model, data, options), found)
    training.seed = choose_seed(training)
    with checkpoint_key(training.checkpoint_key):
        trainer.run(model, data, training, found)
    leave()
    return 0


if __name__ == "__main__":
    from ppdiffusers_ext.training.trainers import COMMANDS

    sys.exit(no_command(__doc__, [f"scripts.{name}" for name in COMMANDS]))
