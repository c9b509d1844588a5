"""The rules of the options of every network that a `config.json` can describe: `rules_of` a class.

A class says in `option_rules` what its options may be; `library_rules` says it of those of libraries. Bounds are some
times the largest published sizes of each kind of network.
"""

from ppdiffusers_ext.models.library_rules import OPTION_RULES
from ppdiffusers_ext.models.rules import Rules


def rules_of(cls: type) -> Rules:
    """The `Rules` of a network's class, or of its configuration's; without fields for one that has none."""
    for base in cls.__mro__:
        found = vars(base).get("option_rules", OPTION_RULES.get(base))
        if found is not None:
            return found
    return Rules({})
