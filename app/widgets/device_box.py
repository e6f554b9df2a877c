"""The choice of where jobs compute, beside the button that starts one: the same as on the Settings page."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QComboBox, QWidget

from app.computing import Computing
from app.settings import ROW, Settings

_ROW = ROW["device"]


class DeviceBox(QComboBox):
    """Two-way with the settings; hidden where there is nothing to choose. For tests: objectName `device`."""

    def __init__(self, settings: Settings, computing: Computing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings, self._computing = settings, computing
        self.setObjectName("device")
        self.setAccessibleName(_words(_ROW.label))
        self.setToolTip(f"<p>{_words(_ROW.label)}</p><p>{_words(_ROW.help)}</p>")
        for value, label in _ROW.choices:
            self.addItem(self.tr("Device: {0}").format(_words(label)), value)
        self.activated.connect(lambda at: settings.set(_ROW.key, self.itemData(at)))
        settings.changed.connect(self._follow)
        computing.changed.connect(self._show)
        self._show()
        self._follow(_ROW.key)

    def _show(self) -> None:
        self.setVisible(self._computing.has_cuda)

    def _follow(self, key: str) -> None:
        if key == _ROW.key:
            self.setCurrentIndex(self.findData(self._settings.value(key)))


def _words(marked: str) -> str:
    return QCoreApplication.translate("Settings", marked)
