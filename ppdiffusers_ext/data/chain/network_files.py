"""Where the weights of the networks that rate clips lie, and what is said of those that are missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers_ext.errors import MissingFileError, shown_path
from ppdiffusers_ext.options import option, path_option

_GROUP = "Networks"
CLIP, SIGLIP, AESTHETIC = "CLIP-ViT-L-14-336", "SigLIP-so400m-patch14-384", "AestheticPredictor-v2.5"
# Name in the registry -> files that are needed below the folder of all weights.
FILES = {
    CLIP: ("clip-vit-large-patch14-336", ("config.json", "vocab.json", "merges.txt")),
    SIGLIP: ("siglip-so400m-patch14-384", ("config.json",)),
    AESTHETIC: ("aesthetic-predictor-v2-5", ("aesthetic_predictor_v2_5.pth",)),
}


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of the steps that load networks."""

    weights: str = path_option(
        "pretrained_weights", help="folder that download_weights fills", group=_GROUP, metavar="DIR"
    )
    device: str = option("auto", help="where networks run: auto, cpu, gpu or gpu:N", group=_GROUP)


def folder_of(weights: str, name: str) -> Path:
    """The folder of a checkpoint below that of all weights."""
    return Path(weights) / FILES[name][0]


def check_weights(weights: str, names: Sequence[str], step: str) -> None:
    """Raise MissingFileError where weights that a step needs are not there, which says how they are fetched."""
    from ppdiffusers_ext.weights.folders import find_weights

    missing = []
    for name in names:
        folder = folder_of(weights, name)
        try:
            whole = all((folder / file).is_file() for file in FILES[name][1])
            if name != AESTHETIC:
                find_weights(folder)
        except MissingFileError:
            whole = False
        if not whole:
            missing.append(name)
    if missing:
        wanted = " ".join(f"--only {name}" for name in missing)
        dest = "" if weights == "pretrained_weights" else f" --dest {shown_path(weights)}"
        raise MissingFileError(
            f"step {step} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not in "
            f"{shown_path(weights)}; `python scripts/download_weights.py {wanted}{dest}` fetches "
            f"{'it' if len(missing) == 1 else 'them'}"
        )
