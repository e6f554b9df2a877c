"""The choice of a recipe from a menu, what it is for, and the present choices saved as one of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.glossary import explain
from app.models.window_words import in_window
from app.widgets.elided_label import ElidedLabel
from app.widgets.note_line import NoteLine
from core.errors import BitwrightError
from core.recipe_file import Recipe, read_recipe
from core.recipes import own_folder, own_paths, presets, recipe_id, save_recipe


class RecipeRow(QWidget):
    """Signals: chosen(Recipe); wanted() when the present choices are to be saved: `save` is then called with them.

    For tests: objectNames `choose_recipe` (its menu: `menu`), `save_recipe`, `recipe_name`, `recipe_words`,
    `write_recipe`, `recipe_note`.
    """

    chosen = Signal(object)
    wanted = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._recipe: Recipe | None = None
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self.fill)
        self.choose_button = QPushButton()
        self.choose_button.setObjectName("choose_recipe")
        self.choose_button.setMenu(self.menu)
        self.choose_button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        explain(self.choose_button, "recipe")
        self.save_button = QToolButton()
        self.save_button.setObjectName("save_recipe")
        self.save_button.setCheckable(True)
        self.save_button.setToolTip(self.tr("Save what is chosen here as a recipe"))
        self.save_button.setAccessibleName(self.save_button.toolTip())
        theme.decorate(self.save_button, "save")
        self.note = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.note.setObjectName("recipe_note")
        self.note.setProperty("role", "caption")
        self.problem = NoteLine(theme, "error", "bad")
        self._form = self._make_form()
        self._compose()
        self.save_button.toggled.connect(self._open_form)
        self.show_recipe(None)

    def show_recipe(self, recipe: Recipe | None, changed: bool = False) -> None:
        """Names the recipe in force, whether choices differ from it by now, and what it is for."""
        self._recipe = recipe
        name = recipe.name if recipe else self.tr("Choose a recipe")
        words = self.tr("{0} (changed)").format(name) if recipe and changed else name
        self.choose_button.setText(words.replace("&", "&&"))
        self.choose_button.setAccessibleName(self.tr("Recipe: {0}").format(words))
        self.note.setText(_words_of(recipe) if recipe else "")
        self.note.setToolTip(_words_of(recipe) if recipe else "")
        self.note.setVisible(recipe is not None and not self.save_button.isChecked())

    def fill(self) -> None:
        """Lists the recipes there are now."""
        self.menu.clear()
        own = []
        for path in own_paths():
            try:
                own.append(read_recipe(path))
            except BitwrightError:
                continue  # opened by hand, it says what is wrong with it
        for title, recipes in ((self.tr("Your own"), own), (self.tr("Presets"), presets())):
            if recipes:
                self.menu.addSection(title)
            for recipe in recipes:
                self._add(recipe)
        self.menu.addSeparator()
        self.menu.addAction(self.tr("Open a recipe file…")).triggered.connect(self._open_file)

    def save(self, present: Recipe) -> None:
        """Writes the present choices under the name given, and shows them as the recipe in force."""
        name = self.name.text().strip()
        words = self.words.text().strip() or self.tr("Saved from the window.")
        recipe = replace(present, id=recipe_id(name), name=name, description=words)
        try:
            save_recipe(recipe)
        except OSError as error:
            self.problem.say(self.tr("It could not be saved: {0}. Check the disk.").format(error.strerror or error))
            return
        self.save_button.setChecked(False)
        self.show_recipe(recipe)

    # ------------------------------------------------------------ composition

    def _make_form(self) -> QWidget:
        self.name, self.words = QLineEdit(), QLineEdit()
        self.name.setObjectName("recipe_name")
        self.words.setObjectName("recipe_words")
        self.words.setPlaceholderText(self.tr("what it is for"))
        self.write_button = QPushButton(self.tr("Save recipe"))
        self.write_button.setObjectName("write_recipe")
        self.write_button.setEnabled(False)
        self.write_button.clicked.connect(self.wanted)
        self.name.textChanged.connect(self._name_changed)
        self.name.returnPressed.connect(self.write_button.click)
        self.words.returnPressed.connect(self.write_button.click)
        form = QWidget()
        rows = QFormLayout(form)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(8)
        rows.addRow(self.tr("Name"), self.name)
        rows.addRow(self.tr("Words"), self.words)
        rows.addRow("", self.write_button)
        form.hide()
        return form

    def _compose(self) -> None:
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.choose_button, 1)
        line.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(line)
        layout.addWidget(self.note)
        layout.addWidget(self._form)
        layout.addWidget(self.problem)

    def _add(self, recipe: Recipe) -> None:
        words = f"{recipe.name}   {', '.join(recipe.targets)}"
        action = self.menu.addAction(words.replace("&", "&&"))
        action.setToolTip(_words_of(recipe))
        action.triggered.connect(lambda: self._choose(recipe))

    # ------------------------------------------------------------ reactions

    def _choose(self, recipe: Recipe) -> None:
        self.problem.say("")
        self.save_button.setChecked(False)
        self.chosen.emit(recipe)

    def _open_file(self) -> None:
        folder = own_folder() if own_folder().is_dir() else Path.home()
        path, _ = QFileDialog.getOpenFileName(
            self, self.tr("Open a recipe file"), str(folder), self.tr("Recipes (*.toml)")
        )
        if path:
            self.open_path(Path(path))

    def open_path(self, path: Path) -> None:
        """Chooses the recipe in a file, or says what is wrong with it."""
        try:
            self._choose(read_recipe(path))
        except BitwrightError as error:
            self.problem.say(in_window(error.line))

    def _open_form(self, is_open: bool) -> None:
        self._form.setVisible(is_open)
        self.note.setVisible(not is_open and self._recipe is not None)
        self.problem.say("")
        if is_open:
            self.name.setText(self._recipe.name if self._recipe else "")
            self.name.setFocus()
            self.name.selectAll()

    def _name_changed(self, name: str) -> None:
        self.write_button.setEnabled(bool(name.strip()))
        replaces = bool(name.strip()) and (own_folder() / f"{recipe_id(name)}.toml").exists()
        self.write_button.setText(self.tr("Replace recipe") if replaces else self.tr("Save recipe"))


def _words_of(recipe: Recipe) -> str:
    needs = {
        "required": RecipeRow.tr("Needs an importance matrix."),
        "recommended": RecipeRow.tr("Better with an importance matrix."),
        "unused": "",
    }[recipe.importance]
    return f"{needs} {recipe.description}".strip()
