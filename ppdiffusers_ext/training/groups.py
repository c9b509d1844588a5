"""Communication between the processes of one training, where Paddle's own is not enough."""

from collections.abc import Callable
from typing import Any

from paddle import distributed
from paddle.base import core
from paddle.distributed import collective

from ppdiffusers_ext.distributed.ranks import end_process
from ppdiffusers_ext.errors import InputError

_MADE, _REFUSED = "made ", "refused "  # what texts in the store begin with; none may be empty


def share_connections() -> None:
    """Reuse the connections of the first group of all processes for later such groups, with gloo (on CPUs).

    For each group Paddle's `ProcessGroupGloo` writes the address of every process into the store under its rank alone
    ("0", "1"), where those of the group before it still are. A process that is a moment ahead reads such an old
    address, and is refused: "gloo/transport/tcp/pair.cc:784] connect [127.0.0.1]:5538: Connection refused". Sharding
    makes two groups of all processes after the first one. NCCL's identifiers have the group's number in their names.
    """
    make = collective._new_process_group_impl
    if getattr(make, "shares_connections", False):
        return

    def make_or_share(backend: str, store: Any, rank: int, world_size: int, *others: Any, **options: Any) -> Any:
        if backend == "gloo":
            first = collective._get_default_group()
            if world_size == first.nranks:
                return first.process_group
        return make(backend, store, rank, world_size, *others, **options)

    make_or_share.shares_connections = True  # type: ignore[attr-defined]  # a mark on the function itself
    collective._new_process_group_impl = make_or_share


def wait_for_first(what: str) -> None:
    """Wait until the first process reaches this call, which may take minutes.

    A collective operation of gloo times out after half a minute, which would end the training.

    Args:
        what: text that is unique for each place and time.
    """
    if distributed.get_world_size() == 1:
        return
    store = core.create_or_get_global_tcp_store()
    if distributed.get_rank() == 0:
        store.set(what, b"done")  # type: ignore[arg-type]  # Paddle's types say text, its code bytes
    else:
        store.get(what)


def from_first(what: str, make: Callable[[], str]) -> str:
    """Returns a text that the first process makes, in every process.

    Args:
        what: text that is unique for each place.
        make: function that makes the text, called only in the first process.

    Raises:
        InputError: `make` raised it in the first process; every process has the same.
    """
    if distributed.get_world_size() == 1:
        return make()
    store = core.create_or_get_global_tcp_store()
    if distributed.get_rank() == 0:
        try:
            store.set(what, (_MADE + make()).encode())  # type: ignore[arg-type]  # as above
        except InputError as error:
            store.set(what, (_REFUSED + str(error)).encode())  # type: ignore[arg-type]  # as above
            raise
    text = store.get(what).decode()
    if text.startswith(_REFUSED):
        raise InputError(text.removeprefix(_REFUSED))
    return text.removeprefix(_MADE)


def refuse_together(what: str, problem: str) -> None:
    """Raise InputError in every process where one of them has a problem: the same, of the first that has one.

    Args:
        what: text that is unique for each place.
        problem: of this process, or "".
    """
    if distributed.get_world_size() > 1 and distributed.get_rank() > 0:
        store = core.create_or_get_global_tcp_store()
        store.set(f"{what} {distributed.get_rank()}", (_MADE + problem).encode())  # type: ignore[arg-type]  # as above
    from_first(what, lambda: _raise_first(what, problem))


def _raise_first(what: str, problem: str) -> str:
    for rank in range(1, distributed.get_world_size()):
        store = core.create_or_get_global_tcp_store()
        problem = problem or store.get(f"{what} {rank}").decode().removeprefix(_MADE)
    if problem:
        raise InputError(problem)
    return ""


def leave() -> None:
    """End this process successfully if it is one of several; return if it is alone.

    The first process, which has the store, is the last to leave: others may still wait for what it has put there.
    """
    if distributed.get_world_size() == 1:
        return
    store = core.create_or_get_global_tcp_store()
    if distributed.get_rank() == 0:
        for rank in range(1, distributed.get_world_size()):
            store.get(f"{rank} leaves")
    else:
        store.set(f"{distributed.get_rank()} leaves", b"done")  # type: ignore[arg-type]  # as above
    end_process(0)
