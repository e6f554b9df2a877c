"""Questions asked before something is lost."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QMessageBox, QWidget

from app import text
from core.jobs import TrashResult

SHOWN_USES = 5


def confirm_quit(parent: QWidget, job: str) -> bool:
    """Whether to quit although a job runs."""
    box = QMessageBox(parent)
    box.setWindowTitle("Bitwright")
    box.setIcon(QMessageBox.Icon.Question)
    box.setText(_tr("A job is running: {0}").format(job))
    box.setInformativeText(
        _tr("Quitting cancels it. No incomplete file is left, and you can retry it after the next start.")
    )
    quit_button = box.addButton(_tr("Cancel the job and quit"), QMessageBox.ButtonRole.DestructiveRole)
    stay = box.addButton(_tr("Keep running"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(stay)
    box.setEscapeButton(stay)
    box.exec()
    return box.clickedButton() is quit_button


def confirm_reset(parent: QWidget) -> bool:
    """Whether every setting is to get its default."""
    box = QMessageBox(parent)
    box.setWindowTitle("Bitwright")
    box.setIcon(QMessageBox.Icon.Question)
    box.setText(_tr("Give every setting its default?"))
    box.setInformativeText(_tr("Your list of models is kept, and no file is touched."))
    reset = box.addButton(_tr("Reset settings"), QMessageBox.ButtonRole.DestructiveRole)
    keep = box.addButton(_tr("Keep them"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    box.exec()
    return box.clickedButton() is reset


def confirm_trash(parent: QWidget, name: str, what: TrashResult) -> bool:
    """Whether a model is to go to the trash, after what else uses it has been told; not where something needs it."""
    uses = [use for item in what.items for use in item.uses]
    kept = sum(item.kept for item in what.items)
    lines = [_tr("{0} files, {1}.").format(sum(item.files for item in what.items), text.size(what.bytes))]
    if kept:
        lines.append(_tr("{0} stay, because another revision shares them.").format(text.size(kept)))
    if any("models--" in item.path for item in what.items):
        lines.append(_tr("It lies in the cache that all Hugging Face programs on this computer share."))
    if named := [use.name for use in uses if use.kind != "revision"]:
        lines.append(_tr("Used by: {0}.").format("; ".join(named[:SHOWN_USES])))
    is_blocked = any(use.blocks for use in uses)
    box = QMessageBox(parent)
    box.setWindowTitle("Bitwright")
    box.setIcon(QMessageBox.Icon.Warning if is_blocked else QMessageBox.Icon.Question)
    box.setText(_tr("{0} is in use now").format(name) if is_blocked else _tr("Move {0} to the trash?").format(name))
    box.setInformativeText("\n".join(lines))
    if is_blocked:
        box.addButton(_tr("Close"), QMessageBox.ButtonRole.RejectRole)
        box.exec()
        return False
    move = box.addButton(_tr("Move to the trash"), QMessageBox.ButtonRole.DestructiveRole)
    keep = box.addButton(_tr("Keep it"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    box.exec()
    return box.clickedButton() is move


def _tr(words: str) -> str:
    return QCoreApplication.translate("Confirm", words)
