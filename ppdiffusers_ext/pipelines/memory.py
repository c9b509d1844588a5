"""The memory ladder: what an animation may keep in memory, from everything to as little as it can."""

from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError, shown


@dataclass(frozen=True)
class Rung:
    """
    Attributes:
        computes_singly: whether what can be is computed one after the other: the two halves of guidance, frames.
        tiles: whether pictures pass the autoencoder in tiles, where it can have them.
        releases: whether networks leave the memory when they have done their part, and are read again when needed.
        halves: whether the weights of the UNets and the pose guider are kept in half precision. They change by up to
            0.4%, and with them the result; everything is still computed as before.
    """

    computes_singly: bool = False
    tiles: bool = False
    releases: bool = False
    halves: bool = False


RUNGS = {
    "high": Rung(),
    "medium": Rung(computes_singly=True),
    "low": Rung(computes_singly=True, releases=True),
    "minimal": Rung(computes_singly=True, tiles=True, releases=True, halves=True),
}


def get_rung(name: object) -> Rung:
    """The `Rung` of a name. Raises InputError for one that is not known."""
    if not isinstance(name, str) or name not in RUNGS:
        raise InputError(f"memory {shown(name)} is not known; use one of {', '.join(RUNGS)}")
    return RUNGS[name]
