"""Mixtures of experts: which forms programs read them in, and how many tokens each expert met.

Facts: transformers 5.23, integrations/compressed_tensors.py, which takes one scheme for all experts and has no zero
points for them; vLLM, compressed_tensors_moe.py, which refuses such, and its layers of experts for GPTQ and AWQ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from core.checkpoints.settings import Settings
from core.checkpoints.source import CheckpointSource
from core.errors import IllegalMethod
from core.imatrix import FEW_TOKENS
from core.jobs import ExpertCoverage, LayerFigures
from core.methods.table import EXPORT, EXPORTS, METHOD

_ONLY_VLLM = "Of programs that read experts in this form only vLLM is known; transformers is not."
# Without the option experts keep random weights, and nothing says so.
WARNINGS: Mapping[str, tuple[str, ...]] = {
    "compressed-tensors": (
        "transformers loads the experts only with quantization_config=CompressedTensorsConfig(dequantize=True); "
        "vLLM loads them as they are.",
    ),
    "gptq": (_ONLY_VLLM,),
    "awq": (_ONLY_VLLM,),
}


def check_experts(source: CheckpointSource, settings: Settings) -> None:
    """Refuses experts in forms that no program reads them in: all must be alike, in some symmetric, too.

    Raises IllegalMethod.
    """
    export = EXPORT[settings.choice.export]
    found = [settings.of(entry.name) for entry in source.entries if entry.is_expert]
    forms = {None if own is None else replace(own.choice, method="") for own in found}
    if export.name == "bf16" or not found:
        return
    if not export.experts:
        names = [row.name for row in EXPORTS if row.experts and row.name in METHOD[settings.choice.method].exports]
        why = f"no program loads the experts of {source.label} from {export.title}"
        remedy = f"Use --export {names[0]}"
        raise IllegalMethod(f"Mixtures of experts cannot be written as {export.name}", why, remedy)
    if any(own is not None and own.is_static for own in found):
        why = "programs round what meets experts token by token"
        raise IllegalMethod("Experts cannot have static activations", why, "Use --activations dynamic")
    if len(forms) > 1:
        why = "programs read all experts in one form"
        raise IllegalMethod("Experts cannot differ from each other", why, "Let --rule and --skip take all or none")
    chosen = next((own.choice for own in found if own is not None), None)
    if chosen is not None and export.name == "compressed-tensors" and not chosen.symmetric:
        why = "programs read experts from compressed-tensors without zero points"
        raise IllegalMethod("Experts cannot be asymmetric there", why, "Choose symmetric integers, or --export gptq")


def coverage(experts: Mapping[str, int], layers: Iterable[LayerFigures]) -> tuple[ExpertCoverage, ...]:
    """How many tokens met each expert, by layer, as far as experts were solved. experts: their numbers by name."""
    met: dict[int, dict[int, int]] = {}
    for figures in layers:
        if figures.name in experts:
            met.setdefault(figures.layer, {})[experts[figures.name]] = figures.tokens
    return tuple(_covered(layer, [tokens for _, tokens in sorted(of.items())]) for layer, of in sorted(met.items()))


def _covered(layer: int, tokens: list[int]) -> ExpertCoverage:
    rare = sum(count < FEW_TOKENS for count in tokens)
    return ExpertCoverage(layer=layer, tokens=tuple(tokens), rare=rare, unused=tokens.count(0))
