"""The pages docs/options.md and docs/options_zh.md, written from the declarations of options: `make option-pages`.

ppdiffusers_ext/server/options_zh.yaml, of which the page of `scripts.serve` is made too, has the Chinese words for
each English sentence of a declaration.
"""

import dataclasses
import importlib
from pathlib import Path

from ppdiffusers_ext.commands import COMMANDS
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.options import OUTPUT, ExistingOptions, declaration, kind_of
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.pipelines.options import INPUT, SAMPLING, SPEED, VIDEO, WINDOWS
from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.server.forms import WORDS, forms_of
from ppdiffusers_ext.server.modes import ServerOptions
from scripts.options import ConfigOptions, flags_of

FOLDER = Path(__file__).parent
# Title of a section -> the options in it; each is translated as the other sentences are.
SECTIONS = {
    "Animate Anyone": SYSTEMS["animate_anyone"].options,
    "StableAnimator": SYSTEMS["stable_animator"].options,
    "StableAnimator's face optimisation": RefinementConfig,
    "EasyAnimate": SYSTEMS["easy_animate"].options,
    "Picture and driving video": Job,
    "Jobs of a server": ServerOptions,
}
ORDER = (INPUT, OUTPUT, VIDEO, SAMPLING, WINDOWS, SPEED)  # of headings; those of one system follow
INTRODUCTION = {
    "Animate Anyone": "`scripts.pose2vid`, `scripts.plan_memory` and, but for input and output, `scripts.animate`.",
    "StableAnimator": "`scripts.stable_animator`, and with `--system stable_animator` `scripts.plan_memory` and, but "
    "for input and output, `scripts.animate`.",
    "StableAnimator's face optimisation": "`scripts.stable_animator`. The keys stand below `refinement` in a file.",
    "EasyAnimate": "`scripts.predict_t2v`, `scripts.predict_i2v`, `scripts.predict_v2v`, each with the options of its "
    "task, and with `--system easy_animate` `scripts.plan_memory`.",
    "Picture and driving video": "`scripts.animate`. The keys are those of a job in a batch file.",
}
# Options that several commands have, and their section.
SHARED = "Shared by commands"
_SHARED = {item.name: item for cls in (ExistingOptions, ConfigOptions) for item in dataclasses.fields(cls)}
INTRODUCTION["Jobs of a server"] = (
    "Keys of the options of `POST /jobs` beside those of the system; see [server.md](server.md)."
)
INTRODUCTION[SHARED] = "Flags alone, which have no keys. `--debug` is of every command, each of the others of some."
# Commands that have no options of their own beside these; and the trainers, as cache_latents, have paddlenlp's.
_WITHOUT_OWN = ("pose2vid", "stable_animator", "predict_i2v", "predict_v2v", "launch", "cache_latents")
TOP = (
    "This page is made from the declarations of the options (`make option-pages`).",
    "Every option is a flag of a command and a key of a YAML file: `--guidance-scale 3` and `guidance_scale: 3` are "
    "the same. Underscores in flags are read as hyphens. Old names and those of the originals go on working, as flags "
    "and as keys.",
    "Precedence: the option given, then the file's key, then the preset or the memory setting, then the default. A "
    "value of None or null never overrides anything.",
)


def commands():
    """Name of each command with options of its own -> its module's first sentence, and the fields of the options."""
    names = [name for group in COMMANDS.values() for name in group]
    found = {}
    for name in names:
        if name not in _WITHOUT_OWN and not name.startswith("trainer_"):
            module = importlib.import_module(f"scripts.{name}")
            own = [item for item in dataclasses.fields(module.Options) if item.name not in _SHARED or _differs(item)]
            found[name] = (
                " ".join(module.__doc__.partition("\n\n")[0].split()),
                [item for item in own if _is_told(item)],
            )
    return found


def _differs(item):
    return declaration(item).help != declaration(_SHARED[item.name]).help


def _is_told(item):
    return bool(declaration(item).help)


def page(words=None):
    """The text of the page: English, or Chinese with a dict of the words for each English sentence."""
    say = words.__getitem__ if words else str
    other = "[English](options.md)" if words else "[简体中文](options_zh.md)"
    parts = [f"# {say('Options')}", other, *map(say, TOP)]
    for title, cls in SECTIONS.items():
        parts += [f"## {say(title)}", say(INTRODUCTION[title]), *_tables(dataclasses.fields(cls), say)]
    parts += [f"## {say(SHARED)}", say(INTRODUCTION[SHARED])]
    parts += _tables([item for item in _SHARED.values() if _is_told(item)], say, has_headings=False)
    for name, (sentence, items) in commands().items():
        parts += [f"## scripts.{name}", say(sentence), *_tables(items, say, has_headings=False)]
    return "\n\n".join(parts) + "\n"


def _tables(items, say, has_headings=True):
    """A heading and a table for each group of fields; or one table of all."""
    groups = dict.fromkeys(declaration(item).group if has_headings else "" for item in items)
    parts = []
    for group in sorted(groups, key=lambda group: ORDER.index(group) if group in ORDER else len(ORDER)):
        header = [say(name) for name in ("option", "default", "old names", "meaning")]
        own = [item for item in items if not has_headings or declaration(item).group == group]
        rows = [header, ["---"] * len(header), *(_row(item, say) for item in own)]
        parts += [f"### {say(group)}"] if group else []
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return parts


def sentences():
    """Every English sentence of the page that is translated."""
    found = {"Options", "option", "default", "old names", "meaning", "required", "on", "off", *TOP}
    found |= {"accepts", "from", "to", "or more", *SECTIONS, *INTRODUCTION.values()}
    for cls in SECTIONS.values():
        for item in dataclasses.fields(cls):
            declared = declaration(item)
            found |= {declared.help, declared.group, declared.unset}
    found |= {SHARED, *(sentence for sentence, _ in commands().values())}
    for item in [*_SHARED.values(), *(item for _, items in commands().values() for item in items)]:
        found |= {declaration(item).help, declaration(item).unset}
    for mode in [mode for system in SYSTEMS for mode in forms_of(system)]:  # of the page of scripts.serve
        found |= {text for field in mode["fields"] for text in (field["help_en"], field["unset_en"], field["group"])}
    return found - {""}


def _row(item, say):
    declared = declaration(item)
    flags, old = flags_of(item.name, declared)
    if declared.is_positional:
        flags, old = [declared.metavar], []
    elif not declared.has_flag:
        flags, old = [item.name], [name for name in declared.aliases if name != item.name]
    if kind_of(item) is bool and item.default is True:
        flags = [*flags, *(declared.off or (f"--no-{item.name.replace('_', '-')}",))]
    old = [name for name in old if name not in flags] + list(declared.keys)
    cells = [_code(flags), _default(item, declared, say), _code(old), _meaning(item, declared, say)]
    return [cell.replace("|", "\\|") for cell in cells]


def _code(names):
    return ", ".join(f"`{name}`" for name in names)


def _default(item, declared, say):
    if item.default is dataclasses.MISSING:
        return "" if item.default_factory is not dataclasses.MISSING else say("required")
    if item.default is None or item.default == "":
        return say(declared.unset) if declared.unset else ""
    if isinstance(item.default, bool):
        return say(declared.unset) if declared.unset else say("on" if item.default else "off")
    return f"{item.default:g}" if isinstance(item.default, float) else str(item.default)


def _meaning(item, declared, say):
    text = say(declared.help)
    if declared.choices and declared.choices[0] not in declared.help:
        text += f" ({say('accepts')} {_code(declared.choices)})"
    if kind_of(item) in (int, float) and declared.lower is not None:
        lower, upper = f"{declared.lower:g}", declared.upper
        if upper is None:
            text += f" ({lower} {say('or more')})"
        else:
            text += f" ({say('from')} {lower} {say('to')} {_number(upper)})"
    return text


def _number(value):
    return (
        "2^63 - 1" if value == 2**63 - 1 else f"{value:,}".replace(",", "") if isinstance(value, int) else f"{value:g}"
    )


def main():
    """Write both pages."""
    (FOLDER / "options.md").write_text(page(), encoding="utf-8")
    (FOLDER / "options_zh.md").write_text(page(read_yaml(WORDS)), encoding="utf-8")


if __name__ == "__main__":
    main()
