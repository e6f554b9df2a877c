"""Model cards made safe: no scripts, no pictures, no tags; code and links stay, and nothing keeps the window busy."""

from __future__ import annotations

import time

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QTextDocument

from app.card_text import LONGEST, safe_card, safe_link
from app.theme import Theme
from app.widgets.card_view import CardView

PAGE = "https://huggingface.co/owner/name"
CASES = (
    ("<script>steal()</script>Hello", "Hello"),
    ("<SCRIPT src=x>\nsteal()\n</SCRIPT >Hello", "Hello"),
    ("<script>never closed", ""),
    ("<!-- hidden -->Hello", "Hello"),
    ("<style>p {}</style>Hello", "Hello"),
    ("![A cat](https://x.org/cat.png)", "*A cat*"),
    ("[![A badge](https://x.org/b.svg)](https://x.org)", "[A badge](https://x.org)"),
    ('<img src="https://x.org/a.png" alt="A dog">', "*A dog*"),
    ("<img src='file:///etc/passwd'>x", "x"),
    ('<a href="https://x.org" onclick="f()">the <b>paper</b></a>', "[the paper](https://x.org)"),
    ("<h2 align=center>Title</h2>", "## Title"),
    ("a < b and c > d", "a < b and c > d"),
    ("`<img src=x>`", "`<img src=x>`"),
    ("```html\n<script>shown</script>\n```", "```html\n<script>shown</script>\n```"),
)
SLOW = (
    "<a ",
    "![",
    "[![](x)",
    "<img ",
    "`",
    "<!--",
    "<script>",
    "<br ",
    "```\n~~~\n",
    '<a href="x">',
    "<",
    "<b",
    "``` ",
    "[a](",
)


@pytest.mark.parametrize(("source", "shown"), CASES)
def test_a_card_is_text_alone(source, shown):
    assert safe_card(source).markdown == shown


def test_pictures_are_counted_and_long_cards_cut():
    card = safe_card("![a](b) <img src=c> text " + "x" * LONGEST)
    assert card.pictures == 2
    assert card.is_cut
    assert len(card.markdown) <= LONGEST


@pytest.mark.parametrize("piece", SLOW)
def test_no_card_takes_long_to_read(piece):
    began = time.process_time()
    safe_card(piece * (LONGEST // len(piece)))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ("https://x.org/a", "https://x.org/a"),
        ("tree/main", f"{PAGE}/blob/main/tree/main"),
        ("/other/model", "https://huggingface.co/other/model"),
        ("javascript:alert(1)", ""),
        ("file:///etc/passwd", ""),
        ("data:text/html,x", ""),
    ],
)
def test_links_lead_to_the_web_alone(link, place):
    assert safe_link(link, PAGE) == place


def test_a_card_on_the_screen_loads_nothing(qtbot):
    view = CardView(Theme("light"))
    qtbot.addWidget(view)
    view.show_card(
        "# Title\n\n![x](file:///etc/hosts)\n\n[a](javascript:x) [b](https://x.org)\n\n<script>s</script>", PAGE
    )
    assert "Title" in view.words()
    assert "A picture is not loaded" in view.words()
    assert "<script>" not in view.words()
    kind = QTextDocument.ResourceType.ImageResource
    assert view._text.loadResource(kind.value, QUrl("https://x.org/a.png")).isEmpty()
    heard = []
    view.link_followed.connect(heard.append)
    for link in ("javascript:x", "https://x.org"):
        view._text.anchorClicked.emit(QUrl(link))
    assert heard == ["https://x.org"]
