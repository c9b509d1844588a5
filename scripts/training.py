"""What both training commands do: parse, train, and tell errors as the other commands do."""

import sys


def main(stage, arguments=None):
    """Train a stage. Returns the exit code: 0, 2 for bad input, 1 for a loss that is not finite."""
    from ppdiffusers_ext.errors import InputError, NonFiniteError
    from ppdiffusers_ext.training.arguments import parse_arguments
    from ppdiffusers_ext.training.run import train

    try:
        model, data, training = parse_arguments(sys.argv[1:] if arguments is None else arguments)
        if not training.do_train:
            raise InputError("nothing is to be done; --do_train is accepted")
        train(stage, model, data, training)
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, NonFiniteError) else 2
