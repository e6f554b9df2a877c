"""What is said of a model on the Hub: its figures, whether it runs here, and what a download of it fetches."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import QCoreApplication

from app import text
from app.models.hub import Badge, best_form
from core.jobs import HubModel, HubPage


def figures(model: HubModel) -> str:
    """Its figures on one line."""
    parts = [
        _tr("{0} parameters").format(text.count(model.parameters)) if model.parameters else "",
        model.license,
        _tr("{0} downloads").format(text.count(model.downloads)) if model.downloads else "",
        _tr("updated {0}").format(model.modified) if model.modified else "",
        _tr("made from {0}").format(", ".join(model.base)) if model.base else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def verdict(badge: Badge) -> str:
    """Whether it runs on this computer, as rich text; '' where that was not asked."""
    if badge.level == "asked":
        return _tr("Looking whether it runs on this computer…")
    if badge.level == "failed":
        return _tr("Whether it runs here is not known: {0}").format(badge.problem)
    result, best = badge.result, best_form(badge.result)
    if result is None:
        return ""
    at = _tr("at {0} tokens of context").format(text.exact(result.context))
    if best is None:
        return f"<b>{_tr('Too large for this computer')}</b> {at}."
    what = _tr("As it is") if best.name == "as it is" else _tr("As {0}").format(best.type or best.name)
    words = best.verdict.words[0].lower() + best.verdict.words[1:]
    return f"<b>{escape(what)}</b>: {escape(words)}, {at}."


def amount(page: HubPage, is_here: bool) -> str:
    """How much of it is fetched, and what is left out."""
    if page.problem:
        return _tr("Nothing of it can be quantized: {0}.").format(page.problem)
    if is_here:
        return _tr("It is on this computer already, in the cache that all Hugging Face programs share.")
    left = [file for file in page.files if file.skipped]
    if page.variants or not left:
        return _tr("{0} files in all, {1}").format(len(page.files), text.size(page.bytes))
    left_bytes = text.size(sum(file.bytes for file in left))
    words = _tr("{0} of {1} files are needed to quantize. Left out are {2} of {3}: see Files for why.")
    return words.format(len(page.files) - len(left), len(page.files), len(left), left_bytes)


def _tr(words: str) -> str:
    return QCoreApplication.translate("HubWords", words)
