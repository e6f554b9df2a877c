"""Questions asked before something is lost."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QMessageBox, QWidget


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


def _tr(words: str) -> str:
    return QCoreApplication.translate("Confirm", words)
