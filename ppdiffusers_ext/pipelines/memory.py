"""The memory ladder: what an animation may keep in memory, from everything to as little as it can."""

from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError, shown


@dataclass(frozen=True)
class Rung:
    """
    Attributes:
        options: of `Pose2VideoPipeline.__call__`, which decide how much is computed at a time.
        releases: whether networks leave the memory when they have done their part, and are read again when needed.
        halves: whether the weights of the UNets and the pose guider are kept in half precision. They change by up to
            0.4%, and with them the result; everything is still computed as before.
    """

    options: dict
    releases: bool = False
    halves: bool = False


_ALL = {"sequential_guidance": False, "context_batch_size": 1, "decode_chunk_size": 4, "vae_tile_size": 0}
_ONE = {"sequential_guidance": True, "context_batch_size": 1, "decode_chunk_size": 1, "vae_tile_size": 0}
RUNGS = {
    "high": Rung(_ALL),
    "medium": Rung(_ONE),
    "low": Rung(_ONE, releases=True),
    "minimal": Rung({**_ONE, "vae_tile_size": 512}, releases=True, halves=True),
}


def get_rung(name):
    """The `Rung` of a name. Raises InputError for one that is not known."""
    if not isinstance(name, str) or name not in RUNGS:
        raise InputError(f"memory {shown(name)} is not known; use one of {', '.join(RUNGS)}")
    return RUNGS[name]
