"""What the training commands do: parse, train, and tell errors as the other commands do."""

import errno
import importlib
import sys
import traceback

_MOST_OF_MESSAGE = 4000  # characters: missing files or tensors may be many
_ANYONE = "ppdiffusers_ext.training.animate_anyone.options"
_STABLE = "ppdiffusers_ext.training.stable_animator.options"
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def main(stage, arguments=None, usage=""):
    """Train a stage of Animate Anyone (1, 2), an autoencoder ("vae"), or "stable_animator".

    Args:
        stage: what is trained.
        arguments: list of texts; those of the process if left out.
        usage: the first words of its --help.

    Returns:
        the exit code: 0, 2 for bad input, 130 for Ctrl-C, 1 for a loss that is not finite, a full disk, or another
        process that is lost.
    """
    from ppdiffusers_ext.training.declared import check_names
    from ppdiffusers_ext.training.logs import quieten_libraries, set_up_logs

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    if not debug:
        quieten_libraries()
    if any(word in ("-h", "--help", "--help-all") for word in arguments):
        return _help(usage, stage, "--help-all" in arguments)
    try:
        check_names(arguments, classes_of(stage))
        set_up_logs(debug)
        return _train(stage, arguments, kinds_of(stage))
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; the same command goes on from the newest checkpoint", 130, debug)
    except (RuntimeError, OSError, ValueError) as error:
        message, code = _told(error)
        if message is None:
            raise
        return _fail(message, code, debug)


def _fail(message, code, debug):
    from ppdiffusers_ext.errors import printable

    if debug:
        traceback.print_exc()
    print(f"error: {printable(message, _MOST_OF_MESSAGE)}", file=sys.stderr)
    return code


def _told(error):
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


def kinds_of(stage):
    """The three dataclasses of what a training can be told."""
    return tuple(getattr(importlib.import_module(module), name) for module, _, name in map(_split, classes_of(stage)))


def _split(path):
    return path.rpartition(".")


def classes_of(stage):
    """Names, with modules, of the three dataclasses of what a training can be told."""
    of_stable = [f"{_STABLE}.Stable{name}Arguments" for name in ("Model", "Data", "Training")]
    if stage == "stable_animator":
        return of_stable
    model = "AutoencoderArguments" if stage == "vae" else "ModelArguments"
    return [f"{_ANYONE}.{model}", f"{_ANYONE}.DataArguments", "ppdiffusers_ext.training.arguments.TrainingArguments"]


def _help(usage, stage, everything):
    from ppdiffusers_ext.packaged import as_called
    from ppdiffusers_ext.training.declared import read_declared, read_mappings
    from ppdiffusers_ext.training.help import short_help

    usage = as_called(usage).strip()
    if everything:
        from ppdiffusers_ext.training.parser import make_parser

        print(f"{usage}\n\n{make_parser(kinds_of(stage)).format_help()}")
    else:
        print(short_help(usage, read_declared(classes_of(stage)), read_mappings(classes_of(stage), "SHORT_HELP")))
    return 0


def _train(stage, arguments, kinds):
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.training.animate_anyone.autoencoder import train_autoencoder
    from ppdiffusers_ext.training.animate_anyone.run import train
    from ppdiffusers_ext.training.groups import leave
    from ppdiffusers_ext.training.parser import parse_arguments
    from ppdiffusers_ext.training.seeds import choose_seed
    from ppdiffusers_ext.training.stable_animator import run as stable_run
    from ppdiffusers_ext.weights.selection import checkpoint_key

    model, data, training = parse_arguments(arguments, kinds)
    if not training.do_train:
        raise InputError("nothing is to be done; --do_train is accepted")
    training.seed = choose_seed(training)
    with checkpoint_key(training.checkpoint_key):
        if stage == "vae":
            train_autoencoder(model, data, training)
        elif stage == "stable_animator":
            stable_run.train(model, data, training)
        else:
            train(stage, model, data, training)
    leave()
    return 0


if __name__ == "__main__":
    from .command import no_command

    trainers = ("trainer_stage1", "trainer_stage2", "trainer_stable_animator", "trainer_vae")
    sys.exit(no_command(__doc__, [f"scripts.{name}" for name in trainers]))
