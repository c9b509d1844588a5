"""What the training commands do: parse, train, and tell errors as the other commands do."""

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import Any

Stage = int | str  # 1 or 2 of Animate Anyone, "vae" or "stable_animator"

_MOST_OF_MESSAGE = 4000  # characters: missing files or tensors may be many
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def main(stage: Stage, arguments: Sequence[str] | None = None, usage: str = "") -> int:
    """Train a stage of Animate Anyone (1, 2), an autoencoder ("vae"), or "stable_animator".

    Args:
        stage: what is trained.
        arguments: list of texts; those of the process if left out.
        usage: the first words of its --help.

    Returns:
        the exit code: 0, 2 for bad input, 130 for Ctrl-C, 1 for a loss that is not finite, a full disk, or another
        process that is lost.
    """
    from ppdiffusers_ext.training.logs import quieten_libraries, set_up_logs

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    if not debug:
        quieten_libraries()
    if any(word in ("-h", "--help", "--help-all") for word in arguments):
        return _help(usage, kinds_of(stage), "--help-all" in arguments)
    try:
        set_up_logs(debug)
        return _train(stage, arguments, debug)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; the same command goes on from the newest checkpoint", 130, debug)
    except (RuntimeError, OSError, ValueError) as error:
        message, code = _told(error)
        if message is None:
            raise
        return _fail(message, code, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    from ppdiffusers_ext.errors import printable

    if debug:
        traceback.print_exc()
    print(f"error: {printable(message, _MOST_OF_MESSAGE)}", file=sys.stderr)
    return code


def _told(error: Exception) -> tuple[str | None, int]:
    """(what an error says to the user, exit code); (None, 1) for what is no word to a user."""
    from ppdiffusers_ext.errors import InputError, NonFiniteError

    if isinstance(error, InputError):
        return str(error), 1 if isinstance(error, NonFiniteError) else 2
    if isinstance(error, OSError) and error.errno in _DISK:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}; the same command goes on from the newest checkpoint when it can write", 1
    if "gloo/transport" in str(error):
        return (
            "the connection to another process of this run is lost, whose workerlog may tell why; the same command "
            "goes on from the newest checkpoint"
        ), 1
    return None, 1


def kinds_of(stage: Stage) -> tuple[Any, Any, Any]:
    """The three dataclasses of what a training can be told: of the model, the data and the training."""
    from ppdiffusers_ext.training.animate_anyone import options as of_anyone
    from ppdiffusers_ext.training.options import TrainerOptions
    from ppdiffusers_ext.training.stable_animator import options as of_stable

    if stage == "stable_animator":
        return of_stable.StableModelArguments, of_stable.StableDataArguments, of_stable.StableTrainerOptions
    model = of_anyone.AutoencoderArguments if stage == "vae" else of_anyone.ModelArguments
    return model, of_anyone.DataArguments, TrainerOptions


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


def _check_files(stage: Stage, model: Any, data: Any, options: Any) -> Any:
    """The clips of a training. Paddle is not imported."""
    from ppdiffusers_ext.training.animate_anyone.check import check_files, check_files_of_autoencoder
    from ppdiffusers_ext.training.stable_animator.check import check_files as check_files_of_stable

    if stage == "vae":
        return check_files_of_autoencoder(model, data, options)
    if stage == "stable_animator":
        return check_files_of_stable(model, data, options)
    return check_files(int(stage), model, data, options)


def _train(stage: Stage, arguments: list[str], debug: bool) -> int:
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.training.parser import parse_options
    from ppdiffusers_ext.weights.selection import checkpoint_key

    model, data, options = parse_options(arguments, kinds_of(stage))
    if not options.do_train:
        raise InputError("nothing is to be done; --do_train is accepted")
    clips = _check_files(stage, model, data, options)

    from ppdiffusers_ext.training.animate_anyone.autoencoder import train_autoencoder
    from ppdiffusers_ext.training.animate_anyone.run import train
    from ppdiffusers_ext.training.arguments import set_up
    from ppdiffusers_ext.training.groups import leave
    from ppdiffusers_ext.training.logs import set_up_loggers
    from ppdiffusers_ext.training.seeds import choose_seed
    from ppdiffusers_ext.training.stable_animator import run as stable_run

    set_up_loggers(debug)
    training = set_up(options)
    training.seed = choose_seed(training)
    with checkpoint_key(training.checkpoint_key):
        if stage == "vae":
            train_autoencoder(model, data, training, clips)
        elif stage == "stable_animator":
            stable_run.train(model, data, training, clips)
        else:
            train(int(stage), model, data, training, clips)
    leave()
    return 0


if __name__ == "__main__":
    from .command import no_command

    trainers = ("trainer_stage1", "trainer_stage2", "trainer_stable_animator", "trainer_vae")
    sys.exit(no_command(__doc__, [f"scripts.{name}" for name in trainers]))
