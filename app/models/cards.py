"""What the cards of a choice say: a mix of types, or a method of checkpoints, in words."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

from core.catalog import Mix
from core.methods.table import EXPORT, Method

LOSS_WORDS: tuple[str, ...] = (
    QT_TRANSLATE_NOOP("ChoiceCard", "practically no loss"),
    QT_TRANSLATE_NOOP("ChoiceCard", "small loss"),
    QT_TRANSLATE_NOOP("ChoiceCard", "moderate loss"),
    QT_TRANSLATE_NOOP("ChoiceCard", "noticeable loss"),
    QT_TRANSLATE_NOOP("ChoiceCard", "heavy loss"),
)
translate = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class Card:
    """What a card says. name, title: its heading. bits: in a few words, '' where there is nothing to say.

    bits_spoken: the same as part of a sentence. loss: 1 (none to speak of) to 5 (heavy), from `loss_source`. facts:
    the last line, in parts. common: among the few that most people choose from.
    """

    name: str
    title: str
    sentence: str
    bits: str
    bits_spoken: str
    loss: int
    loss_source: str
    facts: tuple[str, ...]
    common: bool = True
    recommended: bool = False


def card_of_mix(mix: Mix) -> Card:
    """A mix: how many bits a weight takes in all, and which programs run it."""
    sentence = translate("ChoiceCard", mix.sentence)
    if mix.importance:
        sentence += " " + translate("ChoiceCard", "Needs an importance matrix.")
    return Card(
        mix.name,
        translate("ChoiceCard", mix.title),
        sentence,
        translate("ChoiceCard", "{0} bits").format(f"{mix.bits:.2f}") if mix.bits else "",
        translate("ChoiceCard", "{0} bits per weight").format(f"{mix.bits:.2f}") if mix.bits else "",
        mix.loss,
        translate("ChoiceCard", mix.loss_source),
        (_runs_in(mix.runs_in),),
        mix.common,
        mix.recommended,
    )


def card_of_method(method: Method, bits: int) -> Card:
    """A method: what bits it has, its typical loss at so many of them, what runs it, whether it needs a text."""
    programs = dict.fromkeys(program for name in method.exports for program in EXPORT[name].runs_in)
    needs = "Needs a text" if method.calibration else "Needs no text"
    runs_in = translate("ChoiceCard", "runs in {0}").format(", ".join(programs))
    spoken = translate("ChoiceCard", "At {0} bits per weight").format(bits)
    return Card(
        method.name,
        translate("ChoiceCard", method.title),
        translate("ChoiceCard", method.sentence),
        bits_words(method.bits),
        spoken,
        method.loss[method.bits.index(bits)],
        translate("ChoiceCard", "{0}; shown for {1} bits").format(translate("ChoiceCard", method.loss_source), bits),
        (translate("ChoiceCard", needs), runs_in),
        recommended=method.recommended,
    )


def bits_words(bits: tuple[int, ...]) -> str:
    """Which bits there are, in a few characters: '4 bits', '2–8 bits', '2, 3, 4, 8 bits'."""
    ordered = sorted(bits)
    is_range = len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1))
    shown = f"{ordered[0]}–{ordered[-1]}" if is_range else ", ".join(map(str, ordered))  # a range
    if ordered == [1]:
        return translate("ChoiceCard", "1 bit")
    return translate("ChoiceCard", "{0} bits").format(shown)


def _runs_in(programs: tuple[str, ...]) -> str:
    return translate("ChoiceCard", "Runs in {0}").format(", ".join(programs))
