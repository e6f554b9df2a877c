"""The table of methods: every legal choice is accepted, everything else refused with a remedy that is legal."""

from __future__ import annotations

import itertools

import pytest

from core.jobs import MethodOptions
from core.methods.table import (
    EXPORT,
    EXPORTS,
    GGUF_FORM,
    GROUPS,
    METHOD,
    METHODS,
    RANGES,
    Choice,
    companions,
    label,
    nearest,
    refusal,
)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_rows_are_complete(method) -> None:
    assert method.exports
    assert all(name in EXPORT for name in method.exports)
    assert method.title
    assert method.sentence.endswith(".")
    assert len(method.loss) == len(method.bits)
    assert set(method.loss) <= set(range(1, 6))
    assert method.loss_source
    assert set(method.ranges) <= set(RANGES)
    assert set(method.options) <= set(MethodOptions.model_fields)


def test_one_method_is_recommended() -> None:
    assert [method.name for method in METHODS if method.recommended] == ["gptq"]


def all_choices() -> list[Choice]:
    names = itertools.product(METHOD, EXPORT, range(1, 9), (*GROUPS, 48), (True, False))
    return [Choice(*values, METHOD[values[0]].activations[0]) for values in names]


def is_legal(choice: Choice) -> bool:
    """Written from the rows, not from the checks."""
    method, export = METHOD[choice.method], EXPORT[choice.export]
    if export.name not in method.exports or choice.bits not in method.bits:
        return False
    if not method.groups:
        return True
    rows = (method, export)
    if choice.activations and not (choice.symmetric and (choice.group < 1 if choice.bits == 8 else choice.group)):
        return False
    return all(
        choice.bits in row.bits and choice.group in row.groups and choice.symmetric in row.symmetric for row in rows
    )


def test_exactly_the_legal_choices_are_accepted() -> None:
    choices = all_choices()
    assert [choice for choice in choices if (refusal(choice) is None) != is_legal(choice)] == []
    assert sum(map(is_legal, choices)) > 100


def test_refusals_name_a_legal_value() -> None:
    found = refusal(Choice("int", "gptq", 5, 128, True))
    assert found is not None
    assert found.remedy == "Use --bits 4"
    found = refusal(Choice("int", "gptq", 4, 16, True))
    assert found is not None
    assert found.remedy == "Use --group 32"
    found = refusal(Choice("int", "awq", 4, 128, True))
    assert found is not None
    assert found.remedy == "Add --asymmetric"
    found = refusal(Choice("nf4", "gptq", 4, 64, True))
    assert found is not None
    assert found.remedy == "Use --export bitsandbytes"


@pytest.mark.parametrize(
    ("choice", "remedy"),
    [
        (Choice("int", "compressed-tensors", 8, -1, True, "dynamic"), ""),
        (Choice("int", "compressed-tensors", 4, -1, True, "dynamic"), ""),
        (Choice("gptq", "compressed-tensors", 4, 128, True, "dynamic"), ""),
        (Choice("int", "compressed-tensors", 8, 128, True, "dynamic"), "Use --group channel"),
        (Choice("int", "compressed-tensors", 4, 0, True, "dynamic"), "Use --group channel"),
        (Choice("int", "compressed-tensors", 8, -1, False, "dynamic"), "Leave --asymmetric out"),
        (Choice("int", "compressed-tensors", 6, -1, True, "dynamic"), "Use --bits 8"),
        (Choice("int", "gptq", 8, -1, True, "dynamic"), "Use --export compressed-tensors"),
        (Choice("hqq", "compressed-tensors", 4, 64, False, "dynamic"), "Use --method int"),
    ],
)
def test_rounded_activations(choice: Choice, remedy: str) -> None:
    found = refusal(choice)
    assert (found.remedy if found else "") == remedy


def test_labels_differ() -> None:
    legal = [choice for choice in all_choices() if is_legal(choice) and METHOD[choice.method].groups]
    same_export = [label(choice) for choice in legal if choice.export == EXPORTS[0].name]
    assert len(set(same_export)) == len(same_export)


def test_what_can_be_made_beside_a_form() -> None:
    assert companions(Choice("gptq", "gptq", 4, 32, True)) == ("compressed-tensors", "bf16", "Q4_0")
    assert companions(Choice("awq", "awq", 4, 32, False)) == ("compressed-tensors", "gptq", "bf16", "Q4_1")
    assert "Q8_0" in companions(Choice("int", "compressed-tensors", 8, 32, True))
    assert companions(Choice("int", "bf16", 4, 32, True)) == ("compressed-tensors", "gptq")
    assert companions(Choice("nf4", "bitsandbytes", 4, 64, True)) == ("bf16",)
    assert not set(GGUF_FORM) & set(companions(Choice("gptq", "gptq", 4, 128, True)))


def test_nearest_prefers_the_larger() -> None:
    assert nearest(5, (4, 6, 8)) == 6
