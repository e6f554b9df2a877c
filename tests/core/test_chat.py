"""The chat engine on the real sample: answers, stopping, seeds, memory, quiet output, and errors with a cause."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core import engine as jobs
from core.chat.engine import NO_TEMPLATE_NOTE, Engine
from core.chat.generation import Generation, without_oldest
from core.chat.model_file import read_model_file
from core.chat.native_output import NativeLog, captured
from core.errors import (
    Cancelled,
    ChatNeedsGguf,
    ChatUnavailable,
    ContextOverflow,
    NotAModel,
    OutOfMemory,
    SourceNotFound,
    TruncatedFile,
)
from core.jobs import ChatJob, ChatResult, Message, Sampling
from core.progress import Progress

ROOT = Path(__file__).parents[2]
CONTEXT = 256
GREEDY = Sampling(temperature=0, max_tokens=24)
CAPITAL = "The capital of France is"


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def loaded(path: Path, context: int = CONTEXT) -> Engine:
    with captured() as log:
        return Engine(read_model_file(path), context, 1, log)


def changed(sample: Path, target: Path, old: bytes, new: bytes) -> Path:
    """A copy of the sample with one piece of its header replaced by another of the same length."""
    content = bytearray(sample.read_bytes())
    start = content.index(old)
    content[start : start + len(old)] = new
    target.write_bytes(content)
    return target


@pytest.fixture(scope="module")
def engine(sample):
    engine = loaded(sample)
    yield engine
    with captured():
        engine.close()


def answered(engine: Engine, messages: tuple[Message, ...], sampling: Sampling = GREEDY):
    generation = Generation(engine, messages, sampling)
    assert generation.wait(60)
    return generation.turn()


def test_the_chat_template_makes_the_sample_answer_with_paris(engine):
    turn = answered(engine, user(CAPITAL))
    assert "Paris" in turn.text
    assert (turn.finish, turn.note) == ("end", "")
    assert 1 < turn.tokens <= GREEDY.max_tokens
    assert turn.tokens_per_second > 1
    assert turn.memory_bytes > 60 * 2**20
    assert turn.load_seconds > 0


def test_an_answer_that_reaches_its_longest_length_says_so(engine):
    turn = answered(engine, user("Tell me a long story."), Sampling(temperature=0, max_tokens=5))
    assert (turn.tokens, turn.finish, turn.note) == (5, "length", "")


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(engine):
    answers = [
        answered(engine, user("Write a poem about the sea."), Sampling(temperature=1.2, max_tokens=24, seed=seed)).text
        for seed in (7, 7, 8)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_stopping_ends_the_answer_at_once_and_keeps_what_there_is(engine):
    generation = Generation(engine, user("Count to one thousand."), Sampling(temperature=0, max_tokens=200))
    text = generation.take(30)
    generation.stop()
    started = time.monotonic()
    assert generation.wait(10)
    assert time.monotonic() - started < 2
    turn = generation.turn()
    assert turn.finish == "stopped"
    assert text
    assert turn.text.startswith(text)
    assert turn.tokens < 200
    assert "Paris" in answered(engine, user(CAPITAL)).text


def test_the_oldest_exchanges_are_left_out_where_the_context_is_full(engine):
    filler, reply = Message(role="user", content="word " * 200), Message(role="assistant", content="I see.")
    turn = answered(engine, (filler, reply, filler, reply, *user(CAPITAL)))
    assert turn.note == "The 2 oldest messages were left out to fit the context."
    assert turn.text
    assert answered(engine, (*user("x " * 300), reply, *user(CAPITAL))).text == answered(engine, user(CAPITAL)).text


def test_a_message_longer_than_the_context_is_an_error_with_both_numbers(engine):
    generation = Generation(engine, user("word " * 400), GREEDY)
    generation.wait(60)
    with pytest.raises(ContextOverflow, match="does not fit") as caught:
        generation.turn()
    assert "tokens" in caught.value.why
    assert f"holds {CONTEXT}" in caught.value.why


def test_a_full_context_ends_the_answer_with_a_note(engine):
    turn = answered(engine, user("Write a very long story about a river."), Sampling(temperature=0, max_tokens=1000))
    assert (turn.finish, turn.note) == ("length", f"The context of {CONTEXT} tokens is full.")
    assert CONTEXT / 2 < turn.tokens < CONTEXT


def test_without_oldest_keeps_the_system_message_and_the_question():
    system = Message(role="system", content="s")
    first, answer, second = user("1")[0], Message(role="assistant", content="a"), user("2")[0]
    assert without_oldest((system, first, answer, second)) == (system, second)
    assert without_oldest((first, answer, second)) == (second,)
    assert without_oldest((system, second)) == (system, second)


def test_no_port_is_opened_and_ctrl_c_still_works(engine):
    # Only what listens counts: clients of other tests may still hold connections of their own.
    listening = [one for one in psutil.Process().net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert listening == []
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_context_longer_than_trained_is_cut_to_it(sample):
    engine = loaded(sample, 1_000_000)
    assert engine.context == 8192
    with captured():
        engine.close()


LOAD_THRICE = """
import sys
from pathlib import Path
from core.chat.engine import resident_bytes
from tests.core.test_chat import Sampling, answered, captured, loaded, user
for _ in range(3):
    engine = loaded(Path(sys.argv[1]))
    answered(engine, user("Hello"), Sampling(temperature=0, max_tokens=2))
    with captured():
        engine.close()
    print(resident_bytes())
"""


def test_closing_gives_the_memory_back(sample):
    # In a process of its own: the heap that other tests leave behind would hide or feign a leak.
    done = subprocess.run(
        [sys.executable, "-c", LOAD_THRICE, str(sample)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    sizes = [int(line) for line in done.stdout.split()]
    assert len(sizes) == 3
    assert sizes[2] - sizes[0] < 30 * 2**20


def test_a_model_without_a_template_continues_the_text_and_says_so(sample, tmp_path):
    path = changed(sample, tmp_path / "base.gguf", b"tokenizer.chat_template", b"tokenizer.chat_templatX")
    engine = loaded(path)
    turn = answered(engine, user(CAPITAL), Sampling(temperature=0, max_tokens=4))
    with captured():
        engine.close()
    assert turn.text.startswith(" Paris")
    assert turn.note == NO_TEMPLATE_NOTE


def test_asks_two_models_one_after_the_other_and_prints_nothing(sample):
    job = ChatJob(model=str(sample), against=str(sample), prompt=CAPITAL, sampling=GREEDY, context=CONTEXT)
    program = (
        "import sys; from core import engine; from core.jobs import JOB; "
        "sys.stderr.write('before\\n'); result = engine.run(JOB.validate_json(sys.argv[1])); "
        "sys.stderr.write('after\\n'); print(result.model_dump_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, job.model_dump_json()], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    result = ChatResult.model_validate_json(done.stdout)
    assert ["Paris" in turn.text for turn in result.turns] == [True, True]
    assert result.turns[0].text == result.turns[1].text
    assert done.stderr == "before\nafter\n"


def test_progress_reports_tokens_and_a_cancelled_answer_ends(sample):
    seen = []

    def cancelled() -> bool:
        return any(snapshot.stage.endswith("answers") for snapshot in seen)

    job = ChatJob(model=str(sample), prompt="Count to one thousand.", context=CONTEXT)
    with pytest.raises(Cancelled):
        jobs.run(job, Progress(seen.append, cancelled))
    assert seen[0].stage == f"Loading {sample.name}"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path, sample: None, SourceNotFound),
        (lambda path, sample: path.write_text("hello, this is no model at all"), NotAModel),
        (lambda path, sample: path.write_bytes(sample.read_bytes()[:40_000_000]), TruncatedFile),
        (lambda path, sample: path.mkdir(), ChatNeedsGguf),
    ],
    ids=["missing", "text", "truncated", "folder"],
)
def test_what_cannot_be_loaded_is_named_before_anything_is_tried(make, error, sample, tmp_path):
    path = tmp_path / "model.gguf"
    make(path, sample)
    with pytest.raises(error, match=r"model\.gguf"):
        jobs.run(ChatJob(model=str(sample), against=str(path), prompt="x"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"\x05\x00\x00\x00\x00\x00\x00\x00llama", b"\x05\x00\x00\x00\x00\x00\x00\x00zlama", "architecture: 'zlama'"),
        (b"blk.3.ffn_up.weight", b"blk.3.ffn_xx.weight", "'blk.3.ffn_up.weight' not found"),
    ],
    ids=["architecture", "tensor"],
)
def test_what_llama_cpp_refuses_is_explained_in_its_words(old, new, reason, sample, tmp_path):
    path = changed(sample, tmp_path / "odd.gguf", old, new)
    with pytest.raises(ChatUnavailable) as caught:
        jobs.run(ChatJob(model=str(path), prompt="x"))
    assert reason in caught.value.why
    assert not caught.value.why.startswith(("llama", "check"))


def test_a_lack_of_memory_is_called_that(tmp_path):
    with (tmp_path / "log").open("w+b") as file:
        file.write(b"0.00.193.734 E ggml_aligned_malloc: insufficient memory (attempted to allocate 43948.12 MB)\n")
        file.flush()
        from core.chat.engine import _load_failure

        error = _load_failure(Path("x.gguf"), NativeLog(file))
    assert isinstance(error, OutOfMemory)
    assert error.why == "the job needs about 42.9 GiB"


def test_captured_output_is_kept_and_everything_is_put_back(capfd):
    with captured() as log:
        os.write(1, b"native out\n")
        os.write(2, b"native error\n")
        assert log.lines() == ["native out", "native error"]
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("after\n", "")


def test_everything_that_llama_cpp_has_logged_is_there_at_once():
    """Its own thread prints it, and may be slow: what is in its queue counts."""
    xllamacpp = pytest.importorskip("xllamacpp")
    native = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    if not hasattr(native, "_Z14common_log_addP10common_log14ggml_log_levelPKcz"):
        pytest.skip("its functions have other names here")
    native._Z15common_log_mainv.restype = ctypes.c_void_p
    main = ctypes.c_void_p(native._Z15common_log_mainv())
    with captured() as log:
        for _ in range(3):
            for number in range(3000):
                native._Z14common_log_addP10common_log14ggml_log_levelPKcz(main, 4, b"line %d\n", number)
            assert log.lines()[-1].endswith("line 2999")
        assert len(log.lines()) == 9000
