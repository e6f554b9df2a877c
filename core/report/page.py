"""The frame of a report: one HTML page with its own style, without scripts, light and dark as the reader prefers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --muted: #5a636e; --page: #ffffff; --grid: #e6e9ee; --bad: #d1495b;
  --series0: #0072b2; --series1: #e69f00; --series2: #009e73; --series3: #cc79a7; --series4: #56b4e9;
  --series5: #d55e00; --series6: #c9b800; --series7: #7f7f7f; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --muted: #9da5b0; --page: #1b1d21; --grid: #2e323a;
  --bad: #f2808e; --series0: #3e9bd6; --series2: #1db58a; --series5: #e8742a; --series6: #f0e442;
  --series7: #a6a6a6; } }
* { box-sizing: border-box; }
body { max-width: 1000px; margin: 32px auto; padding: 0 24px; background: var(--page); color: var(--text);
  font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; font-weight: 600; margin-bottom: 4px; }
h1.chapter { margin-top: 64px; border-top: 1px solid var(--grid); padding-top: 24px; } a { color: var(--series0); }
h2 { font-size: 16px; font-weight: 600; margin-top: 32px; }
.muted, figcaption, .legend { color: var(--muted); font-size: 13px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; }
dt { color: var(--muted); } dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 3px 10px 3px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--muted); font-weight: 500; } th.words, td.words { text-align: left; }
figure { margin: 16px 0; } svg { width: 100%; height: auto; }
svg text { fill: var(--muted); font: 12px system-ui, sans-serif; } svg .label { fill: var(--text); }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .grid { stroke: var(--grid); } svg .error { stroke: var(--text); opacity: .6; }
svg .front { fill: none; stroke: var(--muted); stroke-dasharray: 6 4; stroke-width: 1.5; }
.legend span { margin-right: 16px; } .legend i { display: inline-block; width: 10px; height: 10px; margin-right: 6px; }
.token { margin: 10px 0; } mark { color: inherit; font-weight: 600; border-radius: 3px; padding: 0 2px; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file. title: plain words; parts: HTML."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        "</body>\n</html>\n"
    )


def contents(titles: Iterable[str]) -> str:
    """A list of the chapters of a page, with links to them."""
    entries = "".join(
        f'<li><a href="#part{number}">{escape(title)}</a></li>' for number, title in enumerate(titles, start=1)
    )
    return f"<ol>{entries}</ol>"


def chapter(number: int, made: tuple[str, Iterable[str]]) -> str:
    """One of several reports on a page. made: its title and parts."""
    title, parts = made
    body = "\n".join(part for part in parts if part)
    return f'<h1 class="chapter" id="part{number}">{escape(title)}</h1>\n{body}'


def sentence(words: str) -> str:
    """A paragraph."""
    return f"<p>{escape(words)}</p>"


def section(title: str, *parts: str) -> str:
    """A part with a title; nothing where there is nothing in it."""
    inside = "\n".join(part for part in parts if part)
    return f"<h2>{escape(title)}</h2>\n{inside}" if inside else ""


def figure(plot: str, words: str) -> str:
    """A plot with words below it."""
    return f"<figure>\n{plot}<figcaption>{escape(words)}</figcaption>\n</figure>" if plot else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values; empty values are left out."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value)
    return f"<dl>{rows}</dl>"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table. words: how many of the first columns are words, which stand at the left."""

    def row(kind: str, cells: Sequence[str]) -> str:
        kinds = (f'{kind} class="words"' if at < words else kind for at in range(len(cells)))
        made = (f"<{opening}>{escape(cell)}</{kind}>" for opening, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    inside = "\n".join(row("td", cells) for cells in rows)
    return f'<div class="wide"><table>\n<thead>{row("th", headers)}</thead>\n<tbody>\n{inside}\n</tbody></table></div>'
