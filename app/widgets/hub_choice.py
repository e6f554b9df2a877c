"""Which of a repository is fetched: one of its GGUF models, and the branch or tag."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QLabel, QWidget

from app import text
from app.models.hub import BADGES, best_form
from app.theme import Theme
from core.jobs import FitResult, HubPage, HubVariant


class HubChoice(QWidget):
    """Rows that are seen only where there is something to choose. Signals: changed() when another model is chosen.

    revision_chosen(str): another branch or tag. For tests: objectNames `hub_variant`, `hub_revision`.
    """

    changed = Signal()
    revision_chosen = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._page: HubPage | None = None
        self.variant, self.revision = QComboBox(), QComboBox()
        self._labels = {self.variant: QLabel(self.tr("F&ile")), self.revision: QLabel(self.tr("&Revision"))}
        self.variant.setObjectName("hub_variant")
        self.revision.setObjectName("hub_revision")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.setHorizontalSpacing(8)
        for row, (box, label) in enumerate(self._labels.items()):
            label.setBuddy(box)
            label.setProperty("role", "muted")
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(16)
            grid.addWidget(label, row, 0)
            grid.addWidget(box, row, 1)
        self.forget()
        self.variant.currentIndexChanged.connect(lambda _at: self.changed.emit())
        self.revision.currentIndexChanged.connect(lambda _at: self.revision_chosen.emit(self.revision.currentData()))

    @property
    def chosen(self) -> HubVariant | None:
        """The GGUF model that is to be fetched, None for a repository that is one model."""
        at = self.variant.currentIndex()
        return self._page.variants[at] if self._page and self._page.variants and at >= 0 else None

    def forget(self) -> None:
        """Nothing is known to choose from."""
        self._page = None
        for box in self._labels:
            self._show(box, False)

    def show_page(self, page: HubPage, fit: FitResult | None) -> None:
        """Offers what a page has; fit: what is known of whether it runs here."""
        self._page = page
        with QSignalBlocker(self.variant):
            self.variant.clear()
            for variant in page.variants:
                self.variant.addItem(f"{variant.type or variant.name}  ·  {text.size(variant.bytes)}", variant.name)
                self.variant.setItemData(self.variant.count() - 1, variant.name, Qt.ItemDataRole.ToolTipRole)
        self._show(self.variant, bool(page.variants))
        self.mark(fit)
        self._fill_revisions(page)

    def mark(self, fit: FitResult | None) -> None:
        """Marks which files fit, and proposes what is here, else the largest that does."""
        if self._page is None or not self._page.variants:
            return
        levels = {form.file: form.verdict.level for form in fit.forms} if fit else {}
        here = [variant.name for variant in self._page.variants if variant.here]
        best = best_form(fit)
        with QSignalBlocker(self.variant):
            for at, variant in enumerate(self._page.variants):
                _, icon, color = BADGES[levels.get(variant.name, "unknown")]
                self.variant.setItemIcon(at, self._theme.icon(icon, color))
            proposed = here[0] if here else best.file if best else self._page.variants[-1].name
            self.variant.setCurrentIndex(max(self.variant.findData(proposed), 0))
        self.changed.emit()

    def _fill_revisions(self, page: HubPage) -> None:
        with QSignalBlocker(self.revision):
            self.revision.clear()
            for entry in page.revisions:
                words = entry.name if entry.kind == "branch" else self.tr("{0} (tag)").format(entry.name)
                self.revision.addItem(words, entry.name)
            if self.revision.findData(page.revision) < 0:
                self.revision.addItem(page.revision, page.revision)
            self.revision.setCurrentIndex(self.revision.findData(page.revision))
        self._show(self.revision, self.revision.count() > 1)

    def _show(self, box: QComboBox, is_shown: bool) -> None:
        box.setVisible(is_shown)
        self._labels[box].setVisible(is_shown)
        self.setVisible(any(not each.isHidden() for each in self._labels))
