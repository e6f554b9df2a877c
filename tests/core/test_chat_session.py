"""A chat session through the real worker process: streaming, stopping, errors that leave it alive, and its end."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.chat.session import run_session
from core.jobs import ChatLoaded, ChatSessionJob, ChatTurn, Message, Sampling

ROOT = Path(__file__).parents[2]
CONTEXT = 256
LONG = Sampling(temperature=0, max_tokens=220)
STOP = {"stop": True}


class Session:
    """The worker process with one chat session in it; events are kept with the time they came at."""

    def __init__(self, model: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.events: queue.Queue[tuple[float, dict]] = queue.Queue()
        self.log: list[str] = []
        self._readers = [threading.Thread(target=target) for target in (self._read, self._read_log)]
        for reader in self._readers:
            reader.start()
        self.send({"job": ChatSessionJob(model=str(model), context=CONTEXT, threads=1).model_dump(), "id": "chat"})

    def send(self, message: dict) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def say(self, text: str, sampling: Sampling = LONG) -> None:
        message = Message(role="user", content=text)
        self.send({"say": {"messages": [message.model_dump()], "sampling": sampling.model_dump()}})

    def until(self, kind: str) -> list[tuple[float, dict]]:
        """All events up to the first of that kind, which comes last."""
        seen = []
        while not seen or seen[-1][1]["event"] != kind:
            seen.append(self.events.get(timeout=240))
        return seen

    def end(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(timeout=30)
        for reader in self._readers:
            reader.join()
        return code

    def _read(self) -> None:
        with self.process.stdout:
            for line in self.process.stdout:
                self.events.put((time.monotonic(), json.loads(line)))

    def _read_log(self) -> None:
        with self.process.stderr:
            self.log.extend(self.process.stderr)


@pytest.fixture(scope="module")
def session(sample):
    session = Session(sample)
    [*_, (_, loaded)] = session.until("loaded")
    info = ChatLoaded.model_validate(loaded["info"])
    assert (info.model, info.context, info.note) == (str(sample), CONTEXT, "")
    yield session
    if session.process.poll() is None:
        session.end()


def test_tokens_stream_and_add_up_to_the_turn(session):
    session.say("Write a very long story about a river.")
    *tokens, (_, last) = session.until("turn")
    turn = ChatTurn.model_validate(last["turn"])
    assert "".join(event["text"] for _, event in tokens) == turn.text
    assert len(tokens) > 5
    span = tokens[-1][0] - tokens[0][0]
    assert len(tokens) <= 31 * span + 2


def test_stop_is_answered_while_text_is_being_written(session):
    session.say("Write a very long story about a river.")
    session.until("token")
    started = time.monotonic()
    session.send(STOP)
    *_, (when, last) = session.until("turn")
    assert when - started < 1.0
    turn = ChatTurn.model_validate(last["turn"])
    assert turn.finish == "stopped"
    assert turn.text


def test_a_stop_that_comes_too_late_does_not_hit_the_next_answer(session):
    session.send(STOP)
    session.say("The capital of France is", Sampling(temperature=0, max_tokens=16))
    *_, (_, last) = session.until("turn")
    assert "Paris" in last["turn"]["text"]
    assert last["turn"]["finish"] == "end"


def test_saying_something_new_ends_the_answer_before(session):
    session.say("Write a very long story about a river.")
    session.until("token")
    session.say("The capital of France is", Sampling(temperature=0, max_tokens=16))
    assert session.until("turn")[-1][1]["turn"]["finish"] == "stopped"
    assert "Paris" in session.until("turn")[-1][1]["turn"]["text"]


def test_a_failed_answer_is_reported_and_the_session_goes_on(session):
    session.say("word " * 500)
    error = session.until("error")[-1][1]["error"]
    assert error["kind"] == "ContextOverflow"
    assert error["details"] == ""
    session.send({"say": {"messages": []}})
    assert session.until("error")[-1][1]["error"]["kind"] == "Bug"
    session.say("The capital of France is", Sampling(temperature=0, max_tokens=16))
    assert "Paris" in session.until("turn")[-1][1]["turn"]["text"]


def test_the_end_of_input_ends_a_session_in_the_middle_of_an_answer(session):
    session.say("Write a very long story about a river.")
    session.until("token")
    started = time.monotonic()
    assert session.end() == 0
    assert time.monotonic() - started < 8
    assert any("loading model" in line for line in session.log)


def test_none_ends_a_session_before_the_first_word(sample):
    commands: queue.Queue = queue.Queue()
    commands.put(None)
    events: list[dict] = []
    run_session(ChatSessionJob(model=str(sample), context=CONTEXT), commands, events.append)
    assert [event["event"] for event in events] == ["loaded"]
