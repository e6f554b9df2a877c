"""The Chat page with the real worker and the real sample: streaming, stopping, two models, short memory, errors."""

from __future__ import annotations

import os
import signal
import time

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QGuiApplication, QTextDocument

from app import conversation
from app.conversation import State
from app.pages.chat import ChatPage
from app.widgets.chat_composer import Composer
from app.widgets.chat_markdown import MarkdownView
from app.widgets.chat_picker import Choice, ModelPicker
from core.jobs import ErrorFigures, QuantizeJob, QuantizeOptions, QuantizeResult
from tests.app.accessibility import nameless, silent

WAIT_MS = 180_000
CAPITAL = "The capital of France is"
STORY = "Write a very long story about a river."
NO_ERROR = ErrorFigures(rmse=0, relative_rmse=0, snr_db=None, max_error=0, cosine=None)


@pytest.fixture
def page(context, qtbot):
    # One thread: llama.cpp's threads wait actively for each other, which is slow where others want the cores too.
    for key, value in (("chat_context", 256), ("chat_max_tokens", 24), ("chat_temperature", 0.0), ("threads", 1)):
        context.settings.set(key, value)
    with qtbot.waitSignal(context.library.changed, timeout=WAIT_MS):
        context.library.rescan()
    made = ChatPage(context)
    qtbot.addWidget(made)
    made.resize(1000, 700)
    made.show()
    made.activated()
    return made


def ask(qtbot, page, words: str):
    """Writes and sends, waits for the end; the answers."""
    page.composer.field.setPlainText(words)
    qtbot.keyClick(page.composer.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.conversation.is_busy, timeout=WAIT_MS)
    return page.transcript.exchanges[-1].answers


def copied(sample, path):
    """The sample under another name, as if it had been made from it."""
    path.symlink_to(sample)
    return path


def record_result(context, source, output) -> None:
    """A finished job in the history that made `output` from `source`."""
    options = QuantizeOptions(target="Q4_K_M", allow_requantize=True)
    job_id = context.store.add(QuantizeJob(source=str(source), output=str(output), options=options))
    result = QuantizeResult(
        source=str(source),
        output=str(output),
        target="Q4_K_M",
        architecture="llama",
        source_bytes=1,
        bytes=output.stat().st_size,
        bpw_before=5,
        bpw=5,
        seconds=1,
        peak_memory_bytes=1,
        sha256="",
        total=NO_ERROR,
        tensors=(),
    )
    context.store.start(job_id)
    context.store.finish(job_id, result)


# ---------------------------------------------------------------- one model


def test_an_answer_streams_and_ends_with_its_figures(page, qtbot):
    side = page.conversation.sides[0]
    assert page.heads[0].state() == "Not loaded"
    pieces = []
    side.token.connect(pieces.append)
    (answer,) = ask(qtbot, page, CAPITAL)
    assert "Paris" in answer.text()
    assert len(pieces) >= 1
    assert "".join(pieces) == answer.text()
    assert "tokens · " in answer.figures()
    assert "MiB in memory" in answer.figures()
    assert page.heads[0].state().startswith("Ready · ")

    answer.copy()
    assert QGuiApplication.clipboard().text() == answer.text()

    # The model is told the whole conversation, and nothing of it after a new one has begun.
    ask(qtbot, page, "What did I ask you?")
    roles = [message.role for message in side._history]
    assert roles == ["user", "assistant", "user", "assistant"]
    qtbot.keyClick(page, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
    assert side._history == []
    assert page.transcript.exchanges == []
    assert side.state is State.READY


def test_escape_stops_and_the_model_can_be_asked_again(page, context, qtbot):
    # Far longer than a busy machine can keep this thread from seeing the first words.
    context.settings.set("chat_context", 2048)
    context.settings.set("chat_max_tokens", 1500)
    page.composer.field.setPlainText(STORY)
    qtbot.keyClick(page.composer.field, Qt.Key.Key_Return)
    assert page.composer.button.text() == "Stop"
    (answer,) = page.transcript.exchanges[-1].answers
    assert answer.status() == "Loading the model…"
    qtbot.waitUntil(lambda: bool(answer.text()), timeout=WAIT_MS)
    qtbot.keyClick(page.composer.field, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not page.conversation.is_busy, timeout=WAIT_MS)
    assert answer.figures().endswith("stopped")
    assert page.composer.button.text() == "Send"
    context.settings.set("chat_max_tokens", 24)
    # How much of the story was told depends on the machine, and a long one would colour the next answer.
    qtbot.keyClick(page, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
    assert "Paris" in ask(qtbot, page, CAPITAL)[0].text()


def test_a_new_conversation_in_the_middle_of_an_answer_hears_nothing_of_it(page, context, qtbot):
    context.settings.set("chat_max_tokens", 200)
    page.send(STORY)
    qtbot.waitUntil(lambda: bool(page.transcript.exchanges[-1].answers[0].text()), timeout=WAIT_MS)
    page._begin_anew()
    assert not page.conversation.is_busy
    (answer,) = ask(qtbot, page, CAPITAL)
    assert "Paris" in answer.text()
    assert "river" not in answer.text()
    assert [message.content for message in page.conversation.sides[0]._history] == [CAPITAL, answer.text()]


def test_stopping_while_the_model_loads_drops_the_question(page, qtbot):
    page.send(CAPITAL)
    assert page.conversation.sides[0].state is State.LOADING
    page.conversation.stop()
    assert not page.conversation.is_busy
    assert page.transcript.exchanges[-1].answers[0].status() == "Stopped before the first word."
    assert page.heads[0].state() == "Not loaded"
    assert page.conversation.sides[0]._history == []


def test_unloading_and_another_context_load_the_model_anew(page, context, qtbot):
    ask(qtbot, page, CAPITAL)
    context.settings.set("chat_context", 320)
    ask(qtbot, page, CAPITAL)
    side = page.conversation.sides[0]
    assert side.loaded.context == 320
    side.unload()
    assert page.heads[0].state() == "Not loaded"
    page.heads[0].load_wanted.emit()
    assert page.heads[0].state() == "Loading…"
    qtbot.waitUntil(lambda: side.state is State.READY, timeout=WAIT_MS)


# ---------------------------------------------------------------- two models


def test_two_models_answer_side_by_side_under_their_roles(page, context, sample, tmp_path, qtbot):
    made = copied(sample, tmp_path / "made.gguf")
    record_result(context, sample, made)
    page.open_models(str(made), str(sample))
    assert [head.role_words() for head in page.heads] == ["&Model · Quantized", "&Compare with · Original"]
    answering = []
    for side in page.conversation.sides:
        side.changed.connect(
            lambda: answering.append(sum(side.state is State.ANSWERING for side in page.conversation.sides))
        )
    first, second = ask(qtbot, page, CAPITAL)
    assert "Paris" in first.text()
    assert first.text() == second.text()
    assert max(answering) == 1, "two at once share the cores badly"
    assert not page.conversation.takes_turns
    pids = {side._worker._link.pid for side in page.conversation.sides}
    assert len(pids) == 2


def test_where_memory_is_short_they_take_turns_and_it_is_said(page, sample, tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr(conversation, "available_bytes", lambda: 1000)
    page.open_models(str(sample), str(copied(sample, tmp_path / "other.gguf")))
    states = [side.state for side in page.conversation.sides]
    assert states == [State.FREED, State.LOADING]
    assert page.heads[0].state() == "Unloaded to free memory"
    most = []
    for side in page.conversation.sides:
        side.changed.connect(lambda: most.append(sum(side.is_loaded for side in page.conversation.sides)))
    first, second = ask(qtbot, page, CAPITAL)
    assert "Paris" in first.text()
    assert "Paris" in second.text()
    assert max(most) == 1
    assert "one after the other" in page._note.text()


# ---------------------------------------------------------------- errors


def test_a_file_that_cannot_be_loaded_is_explained_in_three_parts(page, sample, tmp_path, qtbot):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(sample.read_bytes()[:30_000_000])
    page.open_models(str(damaged), None)
    qtbot.waitUntil(lambda: bool(page.transcript.exchanges), timeout=WAIT_MS)
    error = page.transcript.exchanges[-1].answers[0].error()
    assert error.kind == "TruncatedFile"
    assert error.why
    assert error.remedy
    assert page.heads[0].state() == "Not loaded"
    page.open_models(str(sample), None)
    assert "Paris" in ask(qtbot, page, CAPITAL)[0].text()


def test_a_killed_worker_and_a_long_message_leave_the_page_usable(page, context, qtbot):
    context.settings.set("chat_max_tokens", 200)
    page.send(STORY)
    (answer,) = page.transcript.exchanges[-1].answers
    qtbot.waitUntil(lambda: bool(answer.text()), timeout=WAIT_MS)
    side = page.conversation.sides[0]
    os.kill(side._worker._link.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: answer.error() is not None, timeout=WAIT_MS)
    assert answer.error().kind == "WorkerDied"
    assert side.state is State.UNLOADED
    assert not page.conversation.is_busy
    assert ask(qtbot, page, "word " * 400)[0].error().kind == "ContextOverflow"
    assert side.state is State.READY
    assert "Paris" in ask(qtbot, page, CAPITAL)[0].text()


# ---------------------------------------------------------------- parts


def test_every_control_has_a_name_and_the_settings_fold_away(page):
    assert nameless(page) == []
    assert silent(page) == []
    assert page.options.isVisible()
    page.toggle_inspector()
    assert not page.options.isVisible()


def test_the_settings_beside_the_chat_are_the_settings(page, context):
    page.options.editors["chat_temperature"].box.setValue(1.25)
    assert page._setup().sampling.temperature == 1.25
    context.settings.set("chat_top_k", 7)
    assert page.options.editors["chat_top_k"].box.value() == 7
    page.options.editors["chat_system_prompt"].box.setPlainText("Be brief.")
    page.options.flush()
    assert page._setup().system == "Be brief."


def test_an_empty_chat_offers_prompts_and_says_what_to_do_without_models(page, qtbot):
    assert page.welcome.isVisible()
    assert "Try one of these" in page.welcome.sentence()
    page.conversation.sides[0].choose(None)
    page._refresh_all()
    assert "Open file…" in page.welcome.sentence()
    page.composer.field.setPlainText("Hello")
    assert not page.composer.button.isEnabled()


def test_the_picker_lists_each_file_once_and_asks_for_other_files(qtbot):
    picker = ModelPicker("None")
    qtbot.addWidget(picker)
    assert Choice("/m-Q4_0.gguf", "m-Q4_0", "Q4_0", 1 << 20).line == "m-Q4_0 · 1.0 MiB"
    known, made = Choice("/a.gguf", "A", "Q8_0", 1 << 20), Choice("/b.gguf", "B", "Q4_0", 1 << 19)
    picker.set_choices([known], [known, made, made])
    assert picker.paths() == ["/a.gguf", "/b.gguf"]
    picker.choose("/b.gguf")
    assert picker.currentText() == "B · Q4_0 · 512.0 KiB"
    picker.set_choices([known, made], [])
    assert picker.current() == made
    last = picker.count() - 1
    with qtbot.waitSignal(picker.browse):
        picker.activated.emit(last)
    assert picker.current() == made


def test_enter_sends_and_shift_enter_begins_a_line(qtbot):
    composer = Composer()
    qtbot.addWidget(composer)
    composer.show()
    sent = []
    composer.sent.connect(sent.append)
    qtbot.keyClick(composer.field, Qt.Key.Key_Return)
    qtbot.keyClicks(composer.field, "one")
    height = composer.field.height()
    qtbot.keyClick(composer.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(composer.field, "two")
    assert composer.field.height() > height
    composer.set_busy(True)
    qtbot.keyClick(composer.field, Qt.Key.Key_Return)
    assert sent == []
    composer.set_busy(False)
    qtbot.keyClick(composer.field, Qt.Key.Key_Return)
    assert sent == ["one\ntwo"]
    assert composer.field.toPlainText() == ""


def test_model_output_is_not_trusted(context, qtbot, tmp_path):
    picture = tmp_path / "secret.png"
    view = MarkdownView(context.theme)
    qtbot.addWidget(view)
    view.set_source(
        f"<b>bold</b> <img src='http://x/y.png'> ![p](file://{picture}) [link](http://example.org)\n\n- item"
    )
    text = view.toPlainText()
    assert "<b>bold</b>" in text
    assert "<img src" in text
    assert "item" in text
    kind = QTextDocument.ResourceType.ImageResource.value
    assert bytes(view.loadResource(kind, QUrl.fromLocalFile(str(picture)))) == b""
    assert not view.textInteractionFlags() & Qt.TextInteractionFlag.LinksAccessibleByMouse


def test_a_long_answer_streams_without_holding_the_window_up(context, qtbot):
    view = MarkdownView(context.theme)
    qtbot.addWidget(view)
    view.resize(500, 100)
    view.show()
    started = time.thread_time()  # the processor's, so that other programs do not count
    for number in range(600):
        view.append_source(f"word{number} ")
    assert time.thread_time() - started < 0.5
    qtbot.waitUntil(lambda: "word599" in view.toPlainText(), timeout=WAIT_MS)
    assert view.height() >= view.document().size().height()
