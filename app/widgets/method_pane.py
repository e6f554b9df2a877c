"""Everything a user chooses about a checkpoint: method, bits, group and form, settings, rules for single layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QLabel, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from app.glossary import explain
from app.models.cards import card_of_method
from app.models.method_fields import Chosen, recommended_method
from app.models.method_rules import group_title
from app.models.window_words import in_window
from app.widgets.choice_card import ChoiceCards
from app.widgets.choice_pane import scrolled
from app.widgets.further_forms import FurtherForms
from app.widgets.method_rules import MethodRules
from app.widgets.method_settings import MethodSettings
from app.widgets.note_line import NoteLine
from core.jobs import MethodOptions
from core.methods.table import ACTIVATION, EXPORT, METHOD, METHODS, Choice, Method, forms_of, list_refusal, refusal

SETTINGS_TAB, RULES_TAB = 1, 2


class MethodPane(QWidget):
    """Signals: changed() when the plan is another; targets_changed() when the checkpoint's name should be.

    state_changed() when a rule that is being written is another. For tests: objectNames `method_tabs`, `method_NAME`
    (the cards), `method_export`, `method_beside`, `method_bits`, `method_group`, `method_warning`, and those of its
    parts.
    """

    changed = Signal()
    targets_changed = Signal()
    state_changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumWidth(344)
        self.cards = ChoiceCards([card_of_method(row, row.bits[0]) for row in METHODS], "method", theme)
        self.cards.setAccessibleName(self.tr("Method"))
        self.settings = MethodSettings(theme)
        self.rules = MethodRules(theme)
        self.export, self.bits, self.group = (self._make_combo(name) for name in ("export", "bits", "group"))
        self.beside = FurtherForms()
        self.warning = NoteLine(theme, "warning", "warn")
        self.warning.setObjectName("method_warning")
        self._compose()
        self._connect()
        self.cards.choose(recommended_method())
        self._offer()

    # ------------------------------------------------------------ what is chosen

    @property
    def method(self) -> Method:
        """The method of all layers without a rule."""
        return METHOD[self.cards.current]

    @property
    def choice(self) -> Choice:
        """What is asked for, as the table of methods knows it."""
        method = self.method
        is_open = len(method.symmetric) > 1
        values = self.settings.values
        return Choice(
            method.name,
            self.export.currentData(),
            self.bits.currentData(),
            self.group.currentData() if method.groups else 0,
            not self.settings.is_asymmetric if is_open else method.symmetric[0],
            values.get("activations") or method.activations[0],
        )

    @property
    def options(self) -> MethodOptions:
        """What is chosen."""
        values: dict[str, Any] = {
            "method": self.method.name,
            "export": self.export.currentData(),
            "beside": self.beside.chosen,
            "bits": self.bits.currentData(),
            "group": self.group.currentData() if self.method.groups else None,
            "rules": self.rules.model.asked,
            **self.settings.values,
        }
        return MethodOptions.model_validate(values)

    @property
    def forms(self) -> tuple[str, ...]:
        """All forms that are written, the first of which decides what is offered."""
        return self.export.currentData(), *self.beside.chosen

    @property
    def problem(self) -> str:
        """What is wrong with a choice, in words; '' where nothing is."""
        return self.rules.model.problem or self.settings.problem

    @property
    def is_calibrated(self) -> bool:
        """Whether what is chosen looks at a text."""
        return self._chosen().is_calibrated

    def _chosen(self) -> Chosen:
        """What decides which settings count; a text is needed by a method, a rule's, static ranges or a pre-step."""
        found = self.settings.chosen(self.method, self.bits.currentData())
        rules = self.rules.model.asked
        names = {self.method.name, *(rule.method for rule in rules if rule.method)}
        kinds = {found.activations, *(rule.activations for rule in rules)}
        looks = any(METHOD[name].calibration for name in names) or bool(found.prestep)
        return replace(found, is_calibrated=looks or any(kind and ACTIVATION[kind].calibration for kind in kinds))

    def choose(self, method: str, forms: Sequence[str]) -> None:
        """Chooses a method and its forms, as they were the last time; unknown ones are left alone."""
        if method in METHOD:
            self.cards.choose(method)
        export, *beside = forms or ("",)
        if self.export.findData(export) >= 0:
            self.export.setCurrentIndex(self.export.findData(export))
        self.beside.wish(beside)

    def apply(self, changes: dict[str, Any]) -> None:
        """Chooses what a refusal advises: fields of MethodOptions."""
        if changes.get("method") in METHOD:
            self.cards.choose(changes["method"])
        for name, combo in (("export", self.export), ("bits", self.bits), ("group", self.group)):
            if name in changes and combo.findData(changes[name]) >= 0:
                with QSignalBlocker(combo):
                    combo.setCurrentIndex(combo.findData(changes[name]))
        if "beside" in changes:
            self.beside.wish(changes["beside"])
        if "text" in changes:
            self.settings.text.set_text(changes["text"])
        if "imatrix" in changes:
            self.settings.imatrix.set_path(changes["imatrix"])
        self.settings.set_values(changes)
        self._retarget()

    # ------------------------------------------------------------ composition

    def _make_combo(self, name: str) -> QComboBox:
        combo = QComboBox()
        combo.setObjectName(f"method_{name}")
        combo.setMinimumContentsLength(5)
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        return combo

    def _compose(self) -> None:
        self.tabs = QTabBar()
        self.tabs.setObjectName("method_tabs")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        stack = QStackedWidget()
        for words, content in (
            (self.tr("Methods"), scrolled(self.cards)),
            (self.tr("Settings"), scrolled(self.settings)),
            (self.tr("Rules"), self.rules),
        ):
            self.tabs.addTab(words)
            stack.addWidget(content)
        self.tabs.currentChanged.connect(stack.setCurrentIndex)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.tabs)
        layout.addWidget(stack, 1)
        layout.addWidget(self.warning)
        layout.addLayout(self._make_form())

    def _make_form(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(8)
        self._labels: dict[str, QLabel] = {}
        for name, words, term, row, column, span in (
            ("export", self.tr("&Form"), "export_form", 0, 0, 3),
            ("beside", self.tr("&Also as"), "further_forms", 1, 0, 3),
            ("bits", self.tr("&Bits"), "bits", 2, 0, 1),
            ("group", self.tr("&Group"), "group", 2, 2, 1),
        ):
            label, editor = QLabel(words), getattr(self, name)
            label.setBuddy(editor)
            explain(label, term)
            grid.addWidget(label, row, column)
            grid.addWidget(editor, row, column + 1, 1, span)
            self._labels[name] = label
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 2)
        return grid

    def _connect(self) -> None:
        self.cards.chosen.connect(self._take_method)
        for combo in (self.export, self.bits, self.group):
            combo.currentIndexChanged.connect(self._retarget)
        self.beside.changed.connect(self._retarget)
        self.settings.changed.connect(self._retarget)
        self.rules.changed.connect(self._retarget)
        self.rules.model.dataChanged.connect(self.state_changed)

    # ------------------------------------------------------------ reactions

    def _take_method(self) -> None:
        self._offer()
        self._retarget()

    def _offer(self) -> None:
        """Offers the method's own forms, bits and groups, each beginning with what it does by itself."""
        method = self.method
        for combo, offered in (
            (self.export, [(f"{EXPORT[name].title}", name) for name in method.exports]),
            (self.bits, [(str(bits), bits) for bits in sorted(method.bits)]),
            (self.group, [(group_title(group), group) for group in sorted(set(method.groups))]),
        ):
            with QSignalBlocker(combo):
                combo.clear()
                for words, value in offered:
                    combo.addItem(words, value)
        for at, name in enumerate(method.exports):
            self.export.setItemData(at, EXPORT[name].sentence, Qt.ItemDataRole.ToolTipRole)
        held = [group for group in method.groups if group in EXPORT[method.exports[0]].groups]
        for combo, value in ((self.bits, method.bits[0]), (self.group, held[0] if held else None)):
            with QSignalBlocker(combo):
                combo.setCurrentIndex(max(combo.findData(value), 0))
        self._show_state()

    def _retarget(self) -> None:
        self._show_state()
        self.targets_changed.emit()

    def _further_forms(self) -> dict[str, str]:
        """The other forms of the method, with the words why one cannot hold the present choice."""
        choice = self.choice
        others = [name for name in forms_of(self.method) if name != choice.export]
        found = {name: refusal(replace(choice, export=name)) or list_refusal((choice.export, name)) for name in others}
        return {name: in_window(f"{why.what}: {why.why}.") if why else "" for name, why in found.items()}

    def _show_state(self) -> None:
        """Shows what counts with the present choices."""
        method, bits = self.method, self.bits.currentData()
        self.cards.cards[method.name].show_card(card_of_method(method, bits))
        for name, is_open in (("bits", len(method.bits) > 1), ("group", bool(method.groups))):
            self._labels[name].setVisible(is_open)
            getattr(self, name).setVisible(is_open)
        self.beside.offer(self._further_forms())
        self.export.setToolTip(EXPORT[self.export.currentData()].sentence)
        self.warning.say(
            self.tr("A model that was not trained in this form will not survive it; the result shows the damage.")
            if method.trained
            else ""
        )
        self.settings.show_for(self._chosen())
        for tab, words, n in (
            (SETTINGS_TAB, self.tr("Settings"), self.settings.count()),
            (RULES_TAB, self.tr("Rules"), len(self.rules.model.rules)),
        ):
            self.tabs.setTabText(tab, f"{words} ({n})" if n else words)
