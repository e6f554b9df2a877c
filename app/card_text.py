"""A model card made safe to show: Markdown without HTML, scripts or pictures, whose links lead to web pages alone.

Cards are written by strangers. Tags become what Markdown can say of them or nothing, and what stands in code stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

# Longer cards take longer to lay out than a window may stand still.
LONGEST = 30_000
_CODE = re.compile(
    r"(^[ ]{0,3}(?P<fence>`{3,12}|~{3,12})[^\n]*\n.*?(?:^[ ]{0,3}(?P=fence)[ ]*$|\Z)"
    r"|(?<!`)(?P<ticks>`{1,4})(?!`).{1,900}?(?<!`)(?P=ticks)(?!`))",
    re.DOTALL | re.MULTILINE,
)
# Everything repeated is bounded: a card made for it must not keep the window busy.
_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|svg|head|template|iframe)\b.*?(?:</\1\s{0,9}>|\Z)", re.DOTALL | re.IGNORECASE
)
_LINKED_PICTURE = re.compile(r"\[\s{0,9}!\[([^\]]{0,300})\]\([^)]{0,900}\)\s{0,9}\]\(([^)\s]{1,900})[^)]{0,300}\)")
_PICTURE = re.compile(r"!\[([^\]]{0,120})\](?:\([^)]{0,900}\)|\[[^\]]{0,300}\])")
_TAG_PICTURE = re.compile(r"<(?:img|video|audio|source|object|embed)\b[^<>]{0,2000}>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s{0,9}=\s{0,9}(?:\"([^\"]{0,300})\"|'([^']{0,300})')", re.IGNORECASE)
_ANCHOR = re.compile(
    r"<a\b[^<>]{0,300}?\bhref\s{0,9}=\s{0,9}(?:\"([^\"<>]{0,900})\"|'([^'<>]{0,900})')[^<>]{0,300}>(.{0,900}?)</a\s{0,9}>",
    re.DOTALL | re.IGNORECASE,
)
_BREAK = re.compile(
    r"<(?:br|hr|/p|/div|/tr|/li|/h[1-6]|/table|/ul|/ol|/details|/summary)\b[^<>]{0,300}>", re.IGNORECASE
)
_HEAD = re.compile(r"<h([1-6])\b[^<>]{0,300}>", re.IGNORECASE)
_BOLD = re.compile(r"</?(?:b|strong)\b[^<>]{0,300}>", re.IGNORECASE)
_CELL = re.compile(r"</t[dh]\s{0,9}>", re.IGNORECASE)
_ITEM = re.compile(r"<li\b[^<>]{0,300}>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


@dataclass(frozen=True, slots=True)
class Card:
    """A card to show. pictures: how many were left out. is_cut: it goes on, on its page."""

    markdown: str
    pictures: int
    is_cut: bool


def safe_card(source: str) -> Card:
    """A card's Markdown as it is shown."""
    is_cut = len(source) > LONGEST
    parts, at, pictures = [], 0, 0
    text = source[:LONGEST]
    for code in _CODE.finditer(text):
        cleaned, count = _without_html(text[at : code.start()])
        parts += [cleaned, code[0]]
        pictures += count
        at = code.end()
    cleaned, count = _without_html(text[at:])
    markdown = re.sub(r"\n{4,}", "\n\n\n", "".join([*parts, cleaned]))
    return Card(markdown.strip(), pictures + count, is_cut)


def safe_link(link: str, page: str) -> str:
    """Where a link of a card leads: an address on the web, those without a host on the model's page; else ''."""
    place = urljoin(f"{page}/blob/main/README.md", link)
    return place if urlsplit(place).scheme in ("http", "https") and urlsplit(place).hostname else ""


def _without_html(text: str) -> tuple[str, int]:
    """Markdown alone, and how many pictures it had."""
    text = _UNSEEN.sub("", text)
    count = len(_PICTURE.findall(text)) + len(_TAG_PICTURE.findall(text))
    text = _LINKED_PICTURE.sub(lambda found: f"[{found[1] or 'picture'}]({found[2]})", text)
    text = _PICTURE.sub(lambda found: f"*{found[1]}*" if found[1].strip() else "", text)
    text = _TAG_PICTURE.sub(_said_of, text)
    text = _ANCHOR.sub(_as_link, text)
    text = _HEAD.sub(lambda found: f"\n{'#' * int(found[1])} ", text)
    text = _CELL.sub("  ", _ITEM.sub("\n- ", _BOLD.sub("**", text)))
    return _TAG.sub("", _BREAK.sub("\n\n", text)), count


def _said_of(picture: re.Match[str]) -> str:
    alt = _ALT.search(picture[0])
    words = (alt[1] or alt[2] or "").strip() if alt else ""
    return f"*{words}*" if words else ""


def _as_link(anchor: re.Match[str]) -> str:
    words = " ".join(_TAG.sub("", anchor[3]).split()).strip("*") or "link"
    return f"[{words}]({anchor[1] or anchor[2] or ''})"
