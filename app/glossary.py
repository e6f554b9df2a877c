"""Words of the field explained in one sentence, from resources/glossary.toml, as tooltips."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QWidget

PATH = Path(__file__).parents[1] / "resources" / "glossary.toml"


@cache
def entries() -> dict[str, dict[str, str]]:
    """All entries by key, each with `term` and `text`. Raises OSError or TOMLDecodeError where the file is broken."""
    return tomllib.loads(PATH.read_text(encoding="utf-8"))


def explanation(key: str) -> str:
    """One entry as the text of a tooltip. Raises KeyError for a key that the glossary does not have."""
    entry = entries()[key]
    term = QCoreApplication.translate("Glossary", entry["term"])
    return f"<p><b>{term}</b><br>{QCoreApplication.translate('Glossary', entry['text'])}</p>"


def explain(widget: QWidget, key: str) -> None:
    """Gives a widget the tooltip of a glossary entry."""
    widget.setToolTip(explanation(key))
