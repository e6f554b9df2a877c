"""The model card of a checkpoint: what was done, with which settings, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from core.checkpoints.decide import Decided, unmatched
from core.checkpoints.source import CheckpointSource
from core.errors import size
from core.jobs import ErrorFigures, LayerFigures, output_errors
from core.methods.calibration import Calibration
from core.methods.ranges import RangeSetting
from core.methods.table import ACTIVATION, EXPORT, METHOD, PRESTEP, group_word

NAME = "README.md"


def model_card(source: CheckpointSource, decided: Decided, total: ErrorFigures, layers: Sequence[LayerFigures]) -> str:
    """The text of README.md, with the fields at its top that model hubs read. layers: matrices that were solved."""
    head = ["---", "library_name: transformers", *([f"license: {source.license}"] if source.license else []), "---"]
    plan, choice = decided.plan, decided.settings.choice
    quantized = [item for item in decided.items if item.matrix is not None]
    snr = "without any error" if total.snr_db is None else f"signal-to-noise ratio {total.snr_db:.1f} dB"
    rows = [
        ("Method", METHOD[choice.method].title),
        ("Layout", EXPORT[choice.export].title),
        *_settings(decided),
        ("Quantized", f"{len(quantized)} of {len(decided.items)} tensors; {_kept(decided)}"),
        ("Size of the weights", f"{size(plan.source_bytes)} before, {size(plan.bytes)} now"),
        ("Error of all weights", f"{snr}, relative RMSE {total.relative_rmse:.2e}"),
        *([("Error of the layers' outputs on the text", output_errors(layers))] if layers else []),
        ("Loads in", ", ".join(EXPORT[choice.export].runs_in)),
    ]
    to_user = set(unmatched(decided.settings, source.entries))  # not of what was made
    notes = [f"\n{note}" for note in plan.warnings if note not in to_user]
    table = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
    measured = "weights and of layers' outputs" if layers else "weights"
    intro = f"{source.name}, quantized with Bitwright. Measured is the error of the {measured}, not of the answers."
    return "\n".join([*head, f"# {source.name}, {plan.target}", "", intro, "", *table, *notes, ""])


def _settings(decided: Decided) -> list[tuple[str, str]]:
    """What was set of the method, in words."""
    settings, choice = decided.settings, decided.settings.choice
    if not METHOD[choice.method].groups:
        return [("Scales", "in 8 bits")] if settings.double else []
    zero = "symmetric" if choice.symmetric else "with zero points"
    zero += ", without the lowest" if settings.restricted else ""
    group = f"{choice.group} weights" if choice.group > 0 else f"each {group_word(choice.group)}"
    rows = [("Integers", f"{choice.bits} bits, {zero}, one scale for {group}")]
    others = {item.row.target_type: 0 for item in decided.items if item.settings not in (None, settings)}
    if others:
        rows.append(("Other layers", ", ".join(others)))
    if METHOD[choice.method].ranges:
        weighted = sum(item.row.weighted for item in decided.items)
        known = f", with the importance of columns for {weighted} tensors" if weighted else ""
        rows.append(("Ranges", f"{_ranges(settings.ranges)}{known}"))
    if choice.method == "gptq":
        rows.append(("Solver", _solver(settings.calibration)))
    if decided.is_calibrated:
        text = "the user's" if settings.own_text else "general calibration text of Bitwright"
        rows.append(("Text", f"{text}, at most {settings.samples} windows of {settings.length} tokens"))
    if settings.prestep:
        strength = f", alpha {settings.inputs.alpha:g}" if settings.prestep == "smoothquant" else ""
        rows.append(("Folded into the weights", f"{PRESTEP[settings.prestep].title}{strength}"))
    if choice.activations:
        found = f", ranges by {settings.inputs.rule}" if settings.is_static else ""
        rows.append(("Activations", f"{ACTIVATION[choice.activations].title}{found}"))
    return rows


def _ranges(ranges: RangeSetting) -> str:
    values = {"percentile": f" {ranges.percentile:g}", "given": f" by hand, {ranges.low:g} to {ranges.high:g}"}
    return f"{ranges.rule}{values.get(ranges.rule, '')}"


def _solver(known: Calibration) -> str:
    """How GPTQ worked, in words."""
    words = [f"columns in the order {known.order}", f"damping {known.damp:g}", f"first position {known.sinks:g} times"]
    words += [f"original's outputs {known.target:g}"] if known.target else []
    return ", ".join([*words, f"at most {known.passes} passes of coordinate descent"])


def _kept(decided: Decided) -> str:
    left = [name for name in decided.kept if name != "lm_head"]
    return f"left in 16 bits by choice: {', '.join(left)}" if left else "embedding, output layer and norms kept"
