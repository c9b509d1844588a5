"""Published checkpoints of StableAnimator: names in files of torch that Paddle's layers have not."""

from ppdiffusers_ext.weights.declaration import BATCH_NORM_RENAMED, BATCH_NORM_UNUSED, CheckpointNames

RECOGNIZER_NAMES = CheckpointNames(
    renamed=(*BATCH_NORM_RENAMED, (r"\bprelu\.weight$", "prelu._weight")), unused=BATCH_NORM_UNUSED
)
