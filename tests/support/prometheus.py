"""A strict parser of Prometheus' text format 0.0.4."""

import re

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
_UNESCAPED = {r"\n": "\n", r"\"": '"', r"\\": "\\"}


def parsed(text):
    """name -> (kind, {sorted labels: value}). Raises AssertionError for anything that is not the format."""
    assert text.endswith("\n") or not text, "the last line has no end"
    found, helped, kind = {}, None, None
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            helped, _, words = line[7:].partition(" ")
            assert _NAME.fullmatch(helped) and helped not in found and words
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            assert name == helped and kind in ("counter", "gauge")
            assert kind != "counter" or name.endswith("_total")
            found[name] = kind, {}
        else:
            name, labels, value = _sample(line)
            assert list(found)[-1:] == [name], f"{name} is not below its TYPE"
            assert labels not in found[name][1], f"{line} is there twice"
            found[name][1][labels] = value
    return found


def _sample(line):
    name = _NAME.match(line)
    assert name, line
    rest, labels = line[name.end() :], []
    if rest.startswith("{"):
        rest = rest[1:]
        while not rest.startswith("}"):
            label = _LABEL.match(rest)
            assert label, line
            labels.append((label[1], re.sub(r"\\.", lambda found: _UNESCAPED[found[0]], label[2])))
            rest = rest[label.end() :]
            assert rest[:1] in (",", "}"), line
            rest = rest.removeprefix(",")
        rest = rest[1:]
    assert rest.startswith(" ") and re.fullmatch(r"[+-]?Inf|NaN|-?[0-9][0-9.e+-]*", rest[1:]), line
    return name[0], tuple(sorted(labels)), float(rest[1:])
