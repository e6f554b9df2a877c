"""Findings in words: what a plan will do to the size and why, and what a finished job cost."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from app import text
from core.catalog import MIX
from core.jobs import Plan, QuantizeResult, TensorPlan
from kernels.blocks import FORMATS

translate = QCoreApplication.translate


def bits_before(plan: Plan) -> float:
    """Bits per weight of the source's tensors."""
    elements = sum(tensor.elements for tensor in plan.tensors)
    return 8 * sum(tensor.source_bytes for tensor in plan.tensors) / elements if elements else 0.0


def saving(before: int, after: int) -> str:
    """The change of size in words: 'saves 62 %', '6 % larger', 'the same size'."""
    if not before or abs(after - before) < 0.005 * before:
        return translate("Sentences", "practically the same size")
    share = abs(after - before) / before
    shown = f"{100 * share:.0f} %"
    return (
        translate("Sentences", "saves {0}").format(shown)
        if after < before
        else translate("Sentences", "{0} larger").format(shown)
    )


def size_sentence(plan: Plan) -> str:
    """'93.8 MiB becomes 99.6 MiB: 6 % larger, because …' or '… : saves 62 %.'."""
    change = translate("Sentences", "{0} becomes {1}: {2}").format(
        text.size(plan.source_bytes), text.size(plan.bytes), saving(plan.source_bytes, plan.bytes)
    )
    cause = _why_larger(plan) if plan.bytes > 1.005 * plan.source_bytes else ""
    return f"{change}, {cause}." if cause else f"{change}."


def _why_larger(plan: Plan) -> str:
    widened = [t for t in plan.tensors if t.bytes > t.source_bytes]
    forced = [t for t in widened if t.fallback]
    before = text.bits(bits_before(plan))
    if len(forced) > len(widened) / 2:
        words = translate(
            "Sentences", "because the source already has {0} bits per weight and most rows do not fit {1}"
        )
        return words.format(before, plan.target)
    if widened:
        return translate("Sentences", "because the source has only {0} bits per weight").format(before)
    return ""


def fallback_sentence(plan: Plan) -> str:
    """How many tensors could not get the wanted type, why, and what that makes of the size; '' where none."""
    fallen = [tensor for tensor in plan.tensors if tensor.fallback]
    if not fallen:
        return ""
    mix = MIX.get(plan.target)
    block = FORMATS[mix.base_type if mix else plan.target].elements
    return translate(
        "Sentences",
        "{0} of {1} tensors fall back because rows of {2} do not fit blocks of {3}; "
        "true size {4} bits per weight instead of {5}.",
    ).format(
        len(fallen),
        len(plan.tensors),
        _row_lengths(fallen),
        block,
        f"{plan.bits_per_weight:.1f}",
        f"{mix.bits if mix else FORMATS[plan.target].bits_per_weight:.1f}",
    )


def _row_lengths(tensors: list[TensorPlan]) -> str:
    lengths = sorted({tensor.shape[-1] for tensor in tensors})
    shown = [str(length) for length in lengths[:3]]
    return translate("Sentences", " and ").join(shown) if len(lengths) <= 3 else ", ".join(shown) + " …"


def result_sentence(result: QuantizeResult) -> str:
    """The headline of a finished job: what the size became and how far the weights are from the source."""
    change = translate("Sentences", "{0} became {1} ({2})").format(
        text.size(result.source_bytes), text.size(result.bytes), saving(result.source_bytes, result.bytes)
    )
    return f"{change}; {fidelity(result.total.snr_db, result.total.relative_rmse)}."


def fidelity(snr_db: float | None, relative_rmse: float) -> str:
    """How far the weights are from the source: '2.1 % error (33.6 dB SNR)' or 'without loss'."""
    if snr_db is None:
        return translate("Sentences", "the weights are copied without loss")
    return translate("Sentences", "the weights typically differ from the source by {0} (SNR {1} dB)").format(
        _share(relative_rmse), f"{snr_db:.1f}"
    )


def _share(fraction: float) -> str:
    return f"{100 * fraction:.2g} %"
