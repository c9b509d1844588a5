"""Groups of all processes on CPUs, which Paddle connects with a race."""

from paddle.distributed import collective


def share_connections():
    """Have groups of all processes use the connections of the first such group, where those are gloo's (on CPUs).

    For each group Paddle's `ProcessGroupGloo` writes the address of every process into the store under its rank alone
    ("0", "1"), where those of the group before it still are. A process that is a moment ahead reads such an old
    address, and is refused: "gloo/transport/tcp/pair.cc:784] connect [127.0.0.1]:5538: Connection refused". Sharding
    makes two groups of all processes after the first one. NCCL's identifiers have the group's number in their names.
    """
    make = collective._new_process_group_impl
    if getattr(make, "shares_connections", False):
        return

    def make_or_share(backend, store, rank, world_size, *others, **options):
        if backend == "gloo":
            first = collective._get_default_group()
            if world_size == first.nranks:
                return first.process_group
        return make(backend, store, rank, world_size, *others, **options)

    make_or_share.shares_connections = True
    collective._new_process_group_impl = make_or_share
