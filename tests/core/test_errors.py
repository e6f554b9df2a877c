"""Every failure reads as one line that says what happened and what to do; none is built from a traceback."""

from __future__ import annotations

import inspect

import pytest

from core import errors
from core.errors import BadInput, BitwrightError, Cancelled, ErrorReport, did_you_mean, size

SAMPLES = {
    "str": "thing",
    "int": 4096,
    "int | None": 4096,
    "Iterable[str]": ["one", "two"],
    "Sequence[str]": ["one", "two"],
    "tuple[int, ...]": (2, 3),
}


def leaves() -> list[type[BitwrightError]]:
    members = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return [kind for kind in members if issubclass(kind, BitwrightError) and kind not in (BitwrightError, BadInput)]


def made(kind: type[BitwrightError], words: str = "thing") -> BitwrightError:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return kind(*((SAMPLES | {"str": words})[parameter.annotation] for parameter in parameters))


@pytest.mark.parametrize("kind", leaves())
def test_every_leaf_is_one_line_with_a_remedy(kind):
    error = made(kind)
    assert "\n" not in error.line
    assert error.line.endswith((".", "?"))
    assert not {"..", "?."} & {error.line[i : i + 2] for i in range(len(error.line))}
    assert error.remedy
    assert error.exit_code in (errors.BAD_INPUT, errors.JOB_FAILED)
    assert kind.__doc__


@pytest.mark.parametrize("kind", leaves())
def test_every_leaf_survives_the_pipe(kind):
    report = ErrorReport.of(made(kind))
    assert (report.kind, report.what) == (kind.__name__, made(kind).what)


def test_unexpected_exceptions_are_called_bugs_and_keep_their_details():
    report = ErrorReport.of(ZeroDivisionError("by zero"), "the traceback")
    assert (report.kind, report.details) == ("Bug", "the traceback")
    assert "by zero" in report.why


def test_memory_error_is_explained():
    assert ErrorReport.of(MemoryError()).kind == "OutOfMemory"


@pytest.mark.parametrize(("name", "kind"), [("gguf.constants", "LibraryMissing"), ("core.plan", "Bug")])
def test_missing_libraries_are_told_from_bugs(name, kind):
    report = ErrorReport.of(ImportError("no such module", name=name))
    assert report.kind == kind


def test_cancelled_is_not_an_error():
    assert not issubclass(Cancelled, BitwrightError)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (1 << 50, "1024.0 TiB")],
)
def test_sizes_in_words(n_bytes, text):
    assert size(n_bytes) == text


@pytest.mark.parametrize(("name", "answer"), [("q4_k_n", "Did you mean Q4_K_M?"), ("zebra", "")])
def test_suggestions(name, answer):
    assert did_you_mean(name, ["Q4_K_M", "Q8_0"]) == answer
