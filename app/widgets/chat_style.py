"""The look of a Markdown document: small headings, room between paragraphs, quiet tables and code blocks."""

from __future__ import annotations

from PySide6.QtGui import (
    QFont,
    QFontDatabase,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextFrameFormat,
    QTextTable,
)

from app.theme import Theme

GAP = 8
ITEM_GAP = 2


def style(document: QTextDocument, theme: Theme) -> None:
    """Goes once over all blocks and tables; Qt's own Markdown reader leaves them without margins."""
    fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
    block = document.begin()
    while block.isValid():
        cursor = QTextCursor(block)
        cursor.mergeBlockFormat(_shape(block, theme))
        letters = _letters(block, fixed)
        if letters is not None:
            cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(letters)
        block = block.next()
    for frame in document.rootFrame().childFrames():
        if isinstance(frame, QTextTable):
            _style_table(frame, theme)


def _shape(block: QTextBlock, theme: Theme) -> QTextBlockFormat:
    shape = QTextBlockFormat()
    if _is_code(block):
        shape.setBackground(theme.color("window"))
        shape.setTopMargin(0 if _is_code(block.previous()) else GAP)
        shape.setBottomMargin(0 if _is_code(block.next()) else GAP)
    elif block.textList() is not None:
        shape.setTopMargin(ITEM_GAP)
        shape.setBottomMargin(ITEM_GAP if block.next().textList() is not None else GAP)
    elif QTextCursor(block).currentTable() is None:
        is_first = not block.previous().isValid()
        shape.setTopMargin(GAP if block.blockFormat().headingLevel() and not is_first else 0)
        shape.setBottomMargin(GAP if block.next().isValid() else 0)
    return shape


def _letters(block: QTextBlock, fixed: str) -> QTextCharFormat | None:
    letters = QTextCharFormat()
    if block.blockFormat().headingLevel():
        # A heading within an answer is as large as its text, and bold: titles belong to the page.
        letters.setProperty(QTextFormat.Property.FontSizeAdjustment, 0)
        letters.setFontWeight(QFont.Weight.DemiBold)
        return letters
    if _is_code(block):
        letters.setFontFamilies([fixed])
        return letters
    return None


def _style_table(table: QTextTable, theme: Theme) -> None:
    shape = table.format()
    shape.setBorderBrush(theme.color("border"))
    shape.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
    shape.setBorderCollapse(True)
    shape.setCellPadding(4)
    shape.setTopMargin(0)
    shape.setBottomMargin(GAP)
    table.setFormat(shape)


def _is_code(block: QTextBlock) -> bool:
    return block.isValid() and block.blockFormat().hasProperty(QTextFormat.Property.BlockCodeFence)
