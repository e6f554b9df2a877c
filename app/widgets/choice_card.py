"""A choice as cards: one radio button each, with the words and figures a person needs to choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QCoreApplication, QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QKeyEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QPushButton, QRadioButton, QSizePolicy, QVBoxLayout, QWidget

from app.glossary import explanation
from app.models.cards import LOSS_WORDS, Card

_PAD, _GAP, _DOT, _STEP = 10, 6, 16, 14
# The corners of a tick, as shares of its box.
_TICK = ((0.22, 0.52), (0.42, 0.72), (0.78, 0.3))


translate = QCoreApplication.translate


class ChoiceCard(QRadioButton):
    """One Card: heading, a sentence, bits, typical loss in five steps, and the facts.

    A radio button in semantics (arrow keys, exclusive, named for screen readers); only its looks differ. Where it is
    not exclusive, it is drawn as a check box, because several can be chosen.
    """

    def __init__(self, card: Card, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.card = card
        self._theme = theme
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self._describe()
        theme.follow(self, self.update)

    def show_card(self, card: Card) -> None:
        """Says something else of the same choice."""
        self.card = card
        self._describe()
        self.updateGeometry()
        self.update()

    def _describe(self) -> None:
        card = self.card
        loss = translate("ChoiceCard", LOSS_WORDS[card.loss - 1])
        self.setAccessibleName(f"{card.name}, {card.title}")
        words = [
            translate("ChoiceCard", "Recommended.") if card.recommended else "",
            card.sentence,
            translate("ChoiceCard", "{0}, {1}.").format(card.bits_spoken, loss) if card.bits_spoken else "",
            self._facts() + ".",
        ]
        self.setAccessibleDescription(" ".join(word for word in words if word))
        scale = translate("ChoiceCard", "{0} of 5: {1}").format(card.loss, loss)
        source = translate("ChoiceCard", "Source: {0}").format(card.loss_source)
        self.setToolTip(f"{explanation('loss_scale')}<p>{scale}<br>{source}</p>")

    def _facts(self) -> str:
        return " · ".join(self.card.facts)

    def hitButton(self, _pos: QPoint) -> bool:
        """The whole card can be clicked."""
        return True

    def hasHeightForWidth(self) -> bool:
        """A narrow card wraps its sentence and grows."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Pixels needed for all lines at this width."""
        caption = QFontMetrics(self._font("caption")).height()
        title = QFontMetrics(self._font("title")).height()
        return 2 * _PAD + title + _GAP // 2 + self._sentence_height(width) + _GAP + caption + _GAP // 2 + caption

    def sizeHint(self) -> QSize:
        """The size at the present width."""
        width = max(self.width(), 280)
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        """Narrow cards stay readable."""
        return QSize(240, self.heightForWidth(max(self.width(), 240)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A new width may need another height."""
        super().resizeEvent(event)
        if event.oldSize().width() != event.size().width():
            self.updateGeometry()

    def _font(self, role: str) -> QFont:
        font = QFont(self.font())
        if role == "title":
            font.setWeight(QFont.Weight.DemiBold)
        elif role == "caption":
            font.setPixelSize(11)
        return font

    def _left(self) -> int:
        return _PAD + _DOT + 8

    def _sentence_height(self, width: int) -> int:
        room = QRect(0, 0, max(width - self._left() - _PAD, 80), 10_000)
        metrics = QFontMetrics(self.font())
        return metrics.boundingRect(room, Qt.TextFlag.TextWordWrap, self.card.sentence).height()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws the card; all colours come from the theme."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_frame(painter)
        self._paint_dot(painter)
        self._paint_text(painter)

    def _paint_frame(self, painter: QPainter) -> None:
        color = self._theme.color
        strong = self.isChecked()
        fill = color("selection") if strong else color("hover" if self.underMouse() else "surface")
        if strong:
            fill.setAlphaF(0.55)
        painter.setPen(QPen(color("accent" if strong or self.hasFocus() else "border"), 2 if self.hasFocus() else 1))
        painter.setBrush(fill)
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 8, 8)

    def _paint_dot(self, painter: QPainter) -> None:
        color = self._theme.color("accent" if self.isChecked() else "muted")
        height = QFontMetrics(self._font("title")).height()
        circle = QRectF(_PAD, _PAD + (height - _DOT) / 2, _DOT, _DOT).adjusted(1, 1, -1, -1)
        painter.setPen(QPen(color, 1.5))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if not self.autoExclusive():
            self._paint_check(painter, circle, color)
            return
        painter.drawEllipse(circle)
        if self.isChecked():
            painter.setBrush(color)
            painter.drawEllipse(circle.adjusted(3, 3, -3, -3))

    def _paint_check(self, painter: QPainter, box: QRectF, color: QColor) -> None:
        if self.isChecked():
            painter.setBrush(color)
        painter.drawRoundedRect(box, 3, 3)
        if self.isChecked():
            painter.setPen(QPen(self._theme.color("on_accent"), 2))
            ticks = [box.topLeft() + QPointF(x * box.width(), y * box.height()) for x, y in _TICK]
            painter.drawPolyline(ticks)

    def _paint_text(self, painter: QPainter) -> None:
        left, right, y = self._left(), self.width() - _PAD, _PAD
        y = self._paint_title(painter, QRect(left, y, right - left, 0)) + _GAP // 2
        painter.setFont(self.font())
        painter.setPen(self._theme.color("text"))
        sentence = QRect(left, y, right - left, self._sentence_height(self.width()))
        painter.drawText(sentence, Qt.TextFlag.TextWordWrap, self.card.sentence)
        self._paint_facts(painter, QRect(left, sentence.bottom() + 1 + _GAP, right - left, 0))

    def _paint_title(self, painter: QPainter, line: QRect) -> int:
        title = self._font("title")
        metrics = QFontMetrics(title)
        line.setHeight(metrics.height())
        painter.setFont(title)
        painter.setPen(self._theme.color("text"))
        shown = f"{self.card.name}  {self.card.title}"
        badge = translate("ChoiceCard", "Recommended") if self.card.recommended else ""
        badge_width = QFontMetrics(self._font("caption")).horizontalAdvance(badge) + 12 if badge else 0
        room = line.width() - badge_width - (8 if badge else 0)
        painter.drawText(
            line, Qt.AlignmentFlag.AlignVCenter, metrics.elidedText(shown, Qt.TextElideMode.ElideRight, room)
        )
        if badge:
            used = min(metrics.horizontalAdvance(shown), room)
            self._paint_badge(painter, QRect(line.left() + used + 8, line.top(), badge_width, line.height()), badge)
        return line.bottom() + 1

    def _paint_badge(self, painter: QPainter, place: QRect, badge: str) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._theme.color("accent"))
        painter.drawRoundedRect(place, place.height() / 2, place.height() / 2)
        painter.setFont(self._font("caption"))
        painter.setPen(self._theme.color("on_accent"))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, badge)

    def _paint_facts(self, painter: QPainter, line: QRect) -> None:
        caption = self._font("caption")
        metrics = QFontMetrics(caption)
        line.setHeight(metrics.height())
        painter.setFont(caption)
        painter.setPen(self._theme.color("muted"))
        painter.drawText(line, Qt.AlignmentFlag.AlignVCenter, self.card.bits)
        x = line.left() + max(map(metrics.horizontalAdvance, ("16.00 bits", self.card.bits))) + 16
        x = self._paint_scale(painter, x, line) + 8
        painter.setPen(self._theme.color("muted"))
        loss = QRect(x, line.top(), line.right() - x, line.height())
        painter.drawText(loss, Qt.AlignmentFlag.AlignVCenter, translate("ChoiceCard", LOSS_WORDS[self.card.loss - 1]))
        line.translate(0, metrics.height() + _GAP // 2)
        facts = metrics.elidedText(self._facts(), Qt.TextElideMode.ElideRight, line.width())
        painter.drawText(line, Qt.AlignmentFlag.AlignVCenter, facts)

    def _paint_scale(self, painter: QPainter, x: int, line: QRect) -> int:
        """Five steps, filled up to the loss; returns where they end."""
        filled, empty = self._theme.color("text"), QColor(self._theme.color("border"))
        painter.setPen(Qt.PenStyle.NoPen)
        for step in range(5):
            painter.setBrush(filled if step < self.card.loss else empty)
            painter.drawRoundedRect(QRectF(x + step * _STEP, line.center().y() - 2, _STEP - 3, 5), 1.5, 1.5)
        return x + 5 * _STEP


class ChoiceCards(QWidget):
    """Cards in one column: the recommended one, then the others in the order given.

    Only the common ones and the chosen ones are shown until `show_all` is pressed. Exactly one is chosen, or at least
    one where there may be several. prefix: of the objectNames of the cards, which end with their names. Signals:
    chosen(str), the name of the first chosen card.
    """

    chosen = Signal(str)

    def __init__(self, cards: Sequence[Card], prefix: str, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("transparent", "true")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        ordered = sorted(cards, key=lambda card: not card.recommended)
        self.cards = {card.name: ChoiceCard(card, theme, self) for card in ordered}
        for name, card in self.cards.items():
            card.setObjectName(f"{prefix}_{name}")
            layout.addWidget(card)
            card.toggled.connect(self._announce)
        self.show_all = QPushButton()
        self.show_all.setObjectName(f"show_all_{prefix}")
        self.show_all.setProperty("link", "true")
        self.show_all.setCheckable(True)
        self.show_all.toggled.connect(self._fold)
        layout.addWidget(self.show_all)
        layout.addStretch(1)
        self.choose(ordered[0].name)
        self._fold()

    def _fold(self) -> None:
        everything = self.show_all.isChecked()
        for card in self.cards.values():
            card.setVisible(everything or card.card.common or card.isChecked())
        few = self.tr("Show the common ones only")
        self.show_all.setText(few if everything else self.tr("Show all {0}").format(len(self.cards)))
        self.show_all.setVisible(not all(card.card.common for card in self.cards.values()))

    @property
    def current(self) -> str:
        """The name of the chosen card, of several the first."""
        return self.names[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the chosen cardes, in the order of the cards."""
        return tuple(name for name, card in self.cards.items() if card.isChecked())

    def allow_several(self, several: bool) -> None:
        """Lets several be chosen, or one alone: then only the first of those chosen stays."""
        for name in self.names[1:] if not several else ():
            self.cards[name].setChecked(False)
        for card in self.cards.values():
            card.setAutoExclusive(not several)
            card.update()

    def choose_all(self, names: tuple[str, ...]) -> None:
        """Chooses exactly these; several only where they are allowed. Raises KeyError for a name without a card."""
        for name in names:
            self.cards[name].setChecked(True)
        for name in self.names:
            if name not in names:
                self.cards[name].setChecked(False)

    def choose(self, name: str) -> None:
        """Chooses a card. Raises KeyError for a name without a card."""
        self.cards[name].setChecked(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Home and End choose the first and the last card shown; arrow keys are the radio buttons' own."""
        ends = {Qt.Key.Key_Home: 0, Qt.Key.Key_End: -1}
        if event.key() not in ends:
            super().keyPressEvent(event)
            return
        card = [card for card in self.cards.values() if card.isVisibleTo(self)][ends[Qt.Key(event.key())]]
        card.setFocus(Qt.FocusReason.ShortcutFocusReason)
        card.setChecked(True)

    def _announce(self, checked: bool) -> None:
        card = self.sender()
        assert isinstance(card, ChoiceCard)
        if not self.names:
            if not card.autoExclusive():
                card.setChecked(True)  # one of them has to stay
            return
        if checked or not card.autoExclusive():
            self._fold()
            self.chosen.emit(self.current)
