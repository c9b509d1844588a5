"""Pages in HTML without scripts and without anything that lies elsewhere: what the reports share.

Whatever a user or a file named (paths, prompts) is text in it, never markup.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from ppdiffusers_ext.metrics.svg import COLORS, as_text

_STYLE = """
:root { color-scheme: light dark; --text: #1d2127; --back: #fdfdfc; --soft: #5c6672; --edge: #d9dde2; --card: #f3f4f5;
  --c0: #1f6fb4; --c1: #c4620a; --c2: #1f8a47; --c3: #7d4fa8; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #16191d; --soft: #9aa4af; --edge: #343a42;
  --card: #1f242a; --c0: #6cb4f0; --c1: #f0a35e; --c2: #6fce93; --c3: #c39be6; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.note, td.name, figcaption { color: var(--soft); } p.note { margin: .3rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .6rem; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 6px; padding: .5rem .8rem; }
.card b { display: block; font-size: 1.35rem; font-weight: 600; } .card span { color: var(--soft); font-size: .85rem; }
.pictures { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: 1rem; } figure { margin: 0; }
figure img { max-width: 100%; border: 1px solid var(--edge); } figcaption { font-size: .85rem; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--edge); padding: .2rem .6rem .2rem 0;
  vertical-align: top; overflow-wrap: anywhere; } td.name { white-space: nowrap; width: 1%; padding-right: 1.5rem; }
svg.plot { width: 100%; height: auto; display: block; }
""" + "".join(f"svg .line{i} {{ stroke: var(--c{i}); fill: var(--c{i}); }}\n" for i in range(len(COLORS)))

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, sections: Iterable[str], style: str = "") -> str:
    """The HTML of a page.

    Args:
        title: of the page, as text.
        sections: HTML; empty ones are left out.
        style: CSS beside that of all pages.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{as_text(title)}</title>\n<style>{_STYLE}{style}</style></head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


def all_in(tag: str, kind: str, parts: Iterable[str]) -> str:
    """HTML parts in an element of a class."""
    return f'<{tag} class="{kind}">\n' + "\n".join(parts) + f"\n</{tag}>"


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """Key figures, each with what it is."""
    parts = (f'<div class="card"><b>{as_text(b)}</b><span>{as_text(s)}</span></div>' for b, s in figures)
    return all_in("div", "cards", parts)


def pictures(captioned: Iterable[tuple[str, bytes]]) -> str:
    """Pictures beside each other: caption and JPEG of each."""
    return all_in(
        "div",
        "pictures",
        (
            f'<figure><img alt="{as_text(name)}" src="data:image/jpeg;base64,{base64.b64encode(content).decode()}">'
            f"<figcaption>{as_text(name)}</figcaption></figure>"
            for name, content in captioned
        ),
    )


def note(text: str) -> str:
    """A paragraph of small print."""
    return f'<p class="note">{as_text(text)}</p>'


def table(rows: Iterable[tuple[object, object]]) -> str:
    """Names and values."""
    cells = (f'<tr><td class="name">{as_text(name)}</td><td>{as_text(value)}</td></tr>' for name, value in rows)
    return "<table>\n" + "\n".join(cells) + "\n</table>"
