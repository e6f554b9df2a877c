"""Everything a user chooses about a quantization but the model and the place: recipe, types, rules, and options."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from app.glossary import explain
from app.models.cards import card_of_mix
from app.widgets.advanced_options import AdvancedOptions
from app.widgets.choice_card import ChoiceCards
from app.widgets.gptq_row import GptqRow
from app.widgets.imatrix_row import ImatrixRow
from app.widgets.recipe_row import RecipeRow
from app.widgets.rules_table import TypeRules
from core.catalog import COPY, MIXES, TARGETS
from core.jobs import Fit, Plan, QuantizeOptions
from core.recipe_file import Recipe

_T = QT_TRANSLATE_NOOP
FITS: tuple[tuple[Fit, str], ...] = (
    ("fast", _T("ChoicePane", "Fast")),
    ("best", _T("ChoicePane", "Best: less error, takes longer")),
    ("reference", _T("ChoicePane", "Reference: as llama-quantize")),
)
TYPES_TAB, RULES_TAB, ADVANCED_TAB = range(3)


class ChoicePane(QWidget):
    """Signals: changed() when the plan is another; targets_changed() when the types are.

    state_changed() when a rule that is being written is another, which may be faulty.

    For tests: objectNames `choice_tabs`, `several_targets`, `fit`, `allow_requantize`, and those of its parts.
    """

    changed = Signal()
    targets_changed = Signal()
    state_changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._recipe: Recipe | None = None
        self._loading = False
        self.setMinimumWidth(344)
        self.recipes = RecipeRow(theme)
        self.cards = ChoiceCards([card_of_mix(mix) for mix in (*MIXES, COPY)], "target", theme)
        self.cards.setAccessibleName(self.tr("Type"))
        self.several = QCheckBox(self.tr("Se&veral"))
        self.several.setObjectName("several_targets")
        self.several.setAccessibleName(self.tr("Several types in one pass"))
        self.several.setToolTip(self.tr("Several types in one pass: a file for each, and the source is read once"))
        self.rules = TypeRules(theme)
        self.advanced = AdvancedOptions(theme)
        self.pure = self.advanced.switches["pure"]
        self.fit = self._make_fit()
        self.imatrix = ImatrixRow(theme)
        self.gptq = GptqRow(theme)
        self.allow, self.allow_box = self._make_allow()
        self._compose()
        self._connect()

    # ------------------------------------------------------------ what is chosen

    @property
    def targets(self) -> tuple[str, ...]:
        """The types, at least one."""
        return self.cards.names

    @property
    def options(self) -> QuantizeOptions:
        """What is chosen, for the first of the types; without choices for single tensors."""
        return QuantizeOptions(
            target=self.cards.current,
            fit=self.fit.currentData(),
            overrides=self.rules.model.overrides,
            allow_requantize=not self.allow_box.isHidden() and self.allow.isChecked(),
            imatrix=self.imatrix.path,
            gptq=self.gptq.options,
            **self.advanced.values,
        )

    @property
    def problem(self) -> str:
        """What is wrong with a choice, in words; '' where nothing is."""
        return self.rules.model.problem or self.advanced.problem

    def recipe(self) -> Recipe:
        """The present choices as a recipe; what belongs to one model or one machine is left out."""
        of_one_model = {"allow_requantize": False, "keep_unquantized": False, "override_kv": (), "prune_layers": ()}
        options = self.options.model_copy(update={"imatrix": "", "gptq": None, **of_one_model})
        needs = any(TARGETS[name].importance for name in self.targets)
        importance = "required" if needs else self._recipe.importance if self._recipe else "recommended"
        return Recipe("", "", "", self.targets, options, importance)

    def load(self, recipe: Recipe) -> None:
        """Chooses what a recipe says; the importance matrix and what is allowed stay as they are."""
        self._loading = True
        self.several.setChecked(len(recipe.targets) > 1)
        self.cards.choose_all(recipe.targets)
        self.fit.setCurrentIndex(self.fit.findData(recipe.options.fit))
        self.rules.model.set_overrides(recipe.options.overrides)
        self.advanced.set_values(recipe.options)
        self._loading = False
        self._recipe = recipe
        self.targets_changed.emit()
        self._announce()

    def choose(self, targets: tuple[str, ...], fit: str) -> None:
        """Chooses types and search, as they were the last time; unknown ones are left alone."""
        known = tuple(name for name in targets if name in self.cards.cards)
        self._loading = True
        if known:
            self.several.setChecked(len(known) > 1)
            self.cards.choose_all(known)
        if self.fit.findData(fit) >= 0:
            self.fit.setCurrentIndex(self.fit.findData(fit))
        self._loading = False

    def forget(self) -> None:
        """Another model was chosen: what belongs to one model goes."""
        self.allow.setChecked(False)
        self.allow_box.hide()
        self.imatrix.forget()
        self.advanced.layers.clear()

    def count(self, plan: Plan | None) -> None:
        """Learns from a plan how many tensors each rule decides."""
        self.rules.model.count(plan)

    # ------------------------------------------------------------ composition

    def _make_fit(self) -> QComboBox:
        combo = QComboBox()
        combo.setObjectName("fit")
        combo.setMinimumContentsLength(8)
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for key, words in FITS:
            combo.addItem(QCoreApplication.translate("ChoicePane", words), key)
        return combo

    def _make_allow(self) -> tuple[QCheckBox, QWidget]:
        allow = QCheckBox(self.tr("&Allow quantizing an already quantized model"))
        allow.setObjectName("allow_requantize")
        explain(allow, "requantize")
        box = QWidget()
        inner = QVBoxLayout(box)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(allow)
        return allow, box

    def _compose(self) -> None:
        self.tabs = QTabBar()
        self.tabs.setObjectName("choice_tabs")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self._stack = QStackedWidget()
        for words, content in (
            (self.tr("Types"), scrolled(self.cards)),
            (self.tr("Rules"), self.rules),
            (self.tr("Advanced"), scrolled(self._make_advanced())),
        ):
            self.tabs.addTab(words)
            self._stack.addWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.recipes)
        head = QHBoxLayout()
        head.addWidget(self.tabs, 1)
        head.addWidget(self.several)
        layout.addLayout(head)
        layout.addWidget(self._stack, 1)
        layout.addLayout(self._make_search())
        layout.addWidget(self.imatrix)
        layout.addWidget(self.gptq)
        layout.addWidget(self.allow_box)
        # Takes the room where the types are hidden.
        layout.addStretch(0)

    def _make_advanced(self) -> QWidget:
        """The settings of GPTQ, where it solves layers, above the options."""
        whole = QWidget()
        whole.setProperty("transparent", "true")
        layout = QVBoxLayout(whole)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.gptq.settings)
        layout.addWidget(self.advanced, 1)
        return whole

    def _make_search(self) -> QHBoxLayout:
        label = QLabel(self.tr("&Search"))
        label.setBuddy(self.fit)
        explain(label, "fit")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(label)
        row.addWidget(self.fit, 1)
        return row

    def _connect(self) -> None:
        self.tabs.currentChanged.connect(self._stack.setCurrentIndex)
        self.tabs.currentChanged.connect(lambda tab: self.several.setVisible(tab == TYPES_TAB))
        self.recipes.save_button.toggled.connect(self._make_room)
        self.several.toggled.connect(self.cards.allow_several)
        self.cards.chosen.connect(self._retarget)
        self.rules.model.changed.connect(self._announce)
        self.rules.model.dataChanged.connect(self._show_tabs)
        self.rules.model.dataChanged.connect(self.state_changed)
        self.advanced.changed.connect(self._announce)
        self.fit.currentIndexChanged.connect(self._announce)
        self.imatrix.changed.connect(self._announce)
        self.gptq.changed.connect(self._announce)
        self.gptq.more_wanted.connect(lambda: self.tabs.setCurrentIndex(ADVANCED_TAB))
        self.allow.toggled.connect(self._announce)
        self.recipes.chosen.connect(self.load)
        self.recipes.wanted.connect(self._save)

    # ------------------------------------------------------------ reactions

    def _make_room(self, is_saving: bool) -> None:
        """The form to save a recipe takes the place of what can be chosen, which is decided by then."""
        for part in (self.tabs, self._stack):
            part.setVisible(not is_saving)
        self.several.setVisible(not is_saving and self.tabs.currentIndex() == TYPES_TAB)

    def _save(self) -> None:
        self.recipes.save(self.recipe())

    def _retarget(self) -> None:
        if not self._loading:
            self.targets_changed.emit()
            self._announce()

    def _announce(self) -> None:
        if self._loading:
            return
        self._show_tabs()
        if self._recipe is not None:
            self.recipes.show_recipe(self._recipe, changed=not self._follows(self._recipe))
        self.changed.emit()

    def _follows(self, recipe: Recipe) -> bool:
        own, said = self.recipe().options, recipe.options
        same = own.model_copy(update={"target": ""}) == said.model_copy(update={"target": ""})
        return same and set(self.targets) == set(recipe.targets)

    def _show_tabs(self) -> None:
        """Says on the tabs how much is chosen behind them."""
        for tab, words, n in (
            (RULES_TAB, self.tr("Rules"), len(self.rules.model.rules)),
            (ADVANCED_TAB, self.tr("Advanced"), self.advanced.count() + self.gptq.count()),
        ):
            self.tabs.setTabText(tab, f"{words} ({n})" if n else words)


def scrolled(content: QWidget) -> QScrollArea:
    """A widget that may be higher than its place."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(content)
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    scroll.viewport().setAutoFillBackground(False)
    content.setAutoFillBackground(False)
    return scroll
