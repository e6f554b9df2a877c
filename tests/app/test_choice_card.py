"""The cards: one radio button per mix, with words for everything that is drawn."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest

from app.models.cards import LOSS_WORDS, card_of_mix
from app.theme import Theme
from app.widgets.choice_card import ChoiceCards
from core.catalog import MIXES


@pytest.fixture
def cards(qtbot):
    made = ChoiceCards([card_of_mix(mix) for mix in MIXES], "target", Theme("light"))
    qtbot.addWidget(made)
    made.resize(320, 900)
    made.show()
    qtbot.waitExposed(made)
    return made


def test_there_is_a_card_for_every_mix_and_the_recommended_one_is_chosen(cards):
    recommended = next(mix.name for mix in MIXES if mix.recommended)
    others = [mix.name for mix in MIXES if not mix.recommended]
    assert list(cards.cards) == [recommended, *others]
    assert cards.current == recommended


def shown(cards):
    return [name for name, card in cards.cards.items() if card.isVisible()]


def test_only_common_types_are_shown_until_all_are_asked_for(cards):
    common = {mix.name for mix in MIXES if mix.common}
    assert set(shown(cards)) == common
    assert len(common) < len(MIXES)
    assert str(len(MIXES)) in cards.show_all.text()
    cards.show_all.click()
    assert shown(cards) == list(cards.cards)
    cards.show_all.click()
    assert set(shown(cards)) == common


def test_a_chosen_type_stays_in_sight(cards):
    rare = next(mix.name for mix in MIXES if not mix.common)
    cards.choose(rare)
    assert rare in shown(cards)
    cards.choose("Q8_0")
    assert rare not in shown(cards)


def test_what_needs_an_importance_matrix_says_so(cards):
    for mix in MIXES:
        assert ("Needs an importance matrix" in cards.cards[mix.name].accessibleDescription()) == mix.importance


def test_a_click_anywhere_on_a_card_chooses_it(cards, qtbot):
    card = cards.cards["Q8_0"]
    with qtbot.waitSignal(cards.chosen) as chosen:
        QTest.mouseClick(card, Qt.MouseButton.LeftButton, pos=card.rect().bottomRight())
    assert chosen.args == ["Q8_0"]
    assert [name for name, one in cards.cards.items() if one.isChecked()] == ["Q8_0"]


def test_arrow_keys_walk_and_home_and_end_jump(cards):
    names = shown(cards)
    cards.cards[names[0]].setFocus()
    QTest.keyClick(cards.cards[names[0]], Qt.Key.Key_Down)
    assert cards.current == names[1]
    QTest.keyClick(cards.cards[names[1]], Qt.Key.Key_Up)
    assert cards.current == names[0]
    QTest.keyClick(cards.cards[names[0]], Qt.Key.Key_End)
    assert cards.current == names[-1]
    QTest.keyClick(cards.cards[names[-1]], Qt.Key.Key_Home)
    assert cards.current == names[0]


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_screen_readers_hear_what_is_drawn(cards, mix):
    card = cards.cards[mix.name]
    accessible = QAccessible.queryAccessibleInterface(card)
    assert accessible.role() == QAccessible.Role.RadioButton
    assert mix.name in accessible.text(QAccessible.Text.Name)
    spoken = accessible.text(QAccessible.Text.Description)
    assert mix.sentence in spoken
    assert LOSS_WORDS[mix.loss - 1] in spoken
    assert ("Recommended" in spoken) == mix.recommended
    assert all(program in spoken for program in mix.runs_in)


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_the_source_of_the_loss_is_in_the_tooltip(cards, mix):
    assert mix.loss_source in cards.cards[mix.name].toolTip()


def test_a_narrow_card_is_higher_and_nothing_is_cut(cards):
    cards.show_all.click()
    QTest.qWait(50)
    for card in cards.cards.values():
        assert card.heightForWidth(250) >= card.heightForWidth(600)
        assert card.height() >= card.heightForWidth(card.width())


def test_cards_are_redrawn_in_the_dark(qtbot):
    theme = Theme("light")
    made = ChoiceCards([card_of_mix(mix) for mix in MIXES], "target", theme)
    qtbot.addWidget(made)
    made.resize(320, 900)
    light = made.grab().toImage()
    theme.set_mode("dark")
    assert made.grab().toImage() != light
    theme.set_mode("light")
