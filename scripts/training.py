"""What the training commands do: parse, train, and tell errors as the other commands do."""

import sys


def main(stage, arguments=None):
    """Train a stage of Animate Anyone (1, 2), an autoencoder ("vae"), or "stable_animator".

    Returns:
        the exit code: 0, 2 for bad input, 1 for a loss that is not finite or another process that is lost.
    """
    from ppdiffusers_ext.errors import InputError, NonFiniteError
    from ppdiffusers_ext.training import stable_run
    from ppdiffusers_ext.training.arguments import (
        AutoencoderArguments,
        DataArguments,
        ModelArguments,
        TrainingArguments,
        parse_arguments,
    )
    from ppdiffusers_ext.training.autoencoder import train_autoencoder
    from ppdiffusers_ext.training.groups import leave
    from ppdiffusers_ext.training.run import train
    from ppdiffusers_ext.training.stable_arguments import (
        StableDataArguments,
        StableModelArguments,
        StableTrainingArguments,
    )
    from ppdiffusers_ext.weights.selection import checkpoint_key

    kinds = {
        "vae": (AutoencoderArguments, DataArguments, TrainingArguments),
        "stable_animator": (StableModelArguments, StableDataArguments, StableTrainingArguments),
    }
    try:
        of_stage = kinds.get(stage, (ModelArguments, DataArguments, TrainingArguments))
        model, data, training = parse_arguments(sys.argv[1:] if arguments is None else arguments, of_stage)
        if not training.do_train:
            raise InputError("nothing is to be done; --do_train is accepted")
        with checkpoint_key(training.checkpoint_key):
            if stage == "vae":
                train_autoencoder(model, data, training)
            elif stage == "stable_animator":
                stable_run.train(model, data, training)
            else:
                train(stage, model, data, training)
        leave()
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, NonFiniteError) else 2
    except RuntimeError as error:
        if "gloo/transport" not in str(error):
            raise
        print(
            "error: the connection to another process of this run is lost, whose workerlog may tell why; the same "
            "command goes on from the newest checkpoint",
            file=sys.stderr,
        )
        return 1
