"""Time of a quantization: every operation counts once, a source is read once for all outputs, history corrects."""

from __future__ import annotations

import pytest

from core.estimate.timing import START_S, How, Operation, Work, correction, operations, predicted_seconds

HOW = How("machine", "cpu", 0, "fast")
ENCODED = Work("F16", "Q4_K", weighted=False, elements=1000, bytes=600)
COPIED = Work("F32", "F32", weighted=False, elements=10, bytes=40)


def test_operations_of_one_output() -> None:
    assert operations([[ENCODED, COPIED]]) == {
        Operation("decode", "F16"): 1000,
        Operation("decode", "F32"): 10,
        Operation("encode", "Q4_K"): 1000,
        Operation("measure"): 10,
        Operation("disk"): 640,
    }


def test_a_source_is_read_once() -> None:
    amounts = operations([[ENCODED], [ENCODED]])
    assert (amounts[Operation("decode", "F16")], amounts[Operation("encode", "Q4_K")]) == (1000, 2000)


def test_seconds() -> None:
    speeds = {HOW.key(operation): 0.001 for operation in operations([[ENCODED]])}
    assert predicted_seconds([[ENCODED]], HOW, speeds) == pytest.approx(START_S + 1 + 1 + 0.6)
    assert predicted_seconds([[ENCODED, COPIED]], HOW, speeds) is None


def test_keys_tell_apart_what_takes_another_time() -> None:
    operation = Operation("encode", "Q4_K")
    keys = {
        HOW.key(operation),
        HOW.key(operation._replace(weighted=True)),
        HOW.key(operation._replace(type_name="Q6_K")),
        HOW.key(Operation("decode", "Q4_K")),
        How("other", "cpu", 0, "fast").key(operation),
        How("machine", "cuda", 0, "fast").key(operation),
        How("machine", "cpu", 2, "fast").key(operation),
        How("machine", "cpu", 0, "best").key(operation),
    }
    assert len(keys) == 8
    assert HOW.key(Operation("decode", "F16")) == How("machine", "cpu", 0, "best").key(Operation("decode", "F16"))


def test_correction() -> None:
    assert correction([]) == 1
    assert correction([1.2, 1.4, 1.3]) == 1.3
    assert correction([1000.0, 0.0001]) == 1
