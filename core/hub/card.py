"""The model card of a published model: what it was made from and how, what was measured, how to run it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.errors import size
from core.hub.known import Known, settings_of
from core.jobs import AS_RUN, ModelEvaluation, QuantizeResult
from core.methods.table import EXPORT

NAME = "README.md"
# By it a card is known as one that may be made anew.
MARK = "quantized with Bitwright"
_FIELDS = re.compile(r"\A---\s*\n(.*?)^---\s*$\n?", re.DOTALL | re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+-]*")


@dataclass(frozen=True, slots=True)
class CardFile:
    """A model file of the repository. result: the job that made it, where that is known."""

    name: str
    type: str
    bytes: int
    result: QuantizeResult | None = None


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card is made of. body: the folder's own card, which is kept as it is beyond its fields."""

    repo: str
    known: Known
    files: Sequence[CardFile]
    base: str
    license: str
    body: str = ""
    extra: list[str] = field(default_factory=list)


def make_card(facts: CardFacts) -> str:
    """The text of README.md, with the fields at its top that the Hub reads."""
    parts = [_fields(facts)]
    if facts.body:
        parts.append(without_fields(facts.body).strip())
    else:
        parts += [f"# {facts.repo.partition('/')[2]}", _intro(facts), _files(facts), _how(facts)]
    parts += [_measured(facts.known), _run(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def without_fields(card: str) -> str:
    """A card without the fields at its top."""
    return _FIELDS.sub("", card, count=1)


def is_ours(card: str) -> bool:
    """Whether a card was made here."""
    return MARK in card


# ---------------------------------------------------------------- the fields


def _fields(facts: CardFacts) -> str:
    library = "gguf" if facts.known.form == "gguf" else "transformers"
    lines = [f"library_name: {library}", "pipeline_tag: text-generation"]
    lines += [f"license: {_yaml(facts.license)}"] if facts.license else []
    lines += [f"base_model: {_yaml(facts.base)}", "base_model_relation: quantized"] if facts.base else []
    tags = ["bitwright", "quantized", *([facts.known.export] if facts.known.export else [])]
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    own = [
        line for line in _own_fields(facts.body) if line.partition(":")[0] not in {x.partition(":")[0] for x in lines}
    ]
    return "\n".join(["---", *lines, *own, "---"])


def _own_fields(card: str) -> list[str]:
    """The plain lines of a card's fields; lists of its own are not taken over."""
    match = _FIELDS.match(card)
    lines = match[1].splitlines() if match else []
    return [line for line in lines if re.fullmatch(r"[a-z_]+: *\S.*", line)]


def _yaml(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "''").replace("\n", " ") + "'"


# ---------------------------------------------------------------- the text


def _intro(facts: CardFacts) -> str:
    base = f"[{facts.base}](https://huggingface.co/{facts.base})" if facts.base else facts.known.name
    return f"{base}, {MARK}."


def _files(facts: CardFacts) -> str:
    if facts.known.form != "gguf":
        return ""
    rows = [
        (f"`{file.name}`", file.type or "—", size(file.bytes), *_error(file.result))
        for file in sorted(facts.files, key=lambda file: -file.bytes)
    ]
    note = "Measured is the error of the weights against those that were quantized, not of the answers."
    known = any(file.result for file in facts.files)
    return "## Files\n\n" + _table(("File", "Type", "Size", "Bits per weight", "Error of all weights"), rows) + (
        f"\n\n{note}" if known else "")  # fmt: skip


def _error(result: QuantizeResult | None) -> tuple[str, str]:
    if result is None:
        return "—", "—"
    total = result.total
    words = "none" if total.snr_db is None else f"{total.snr_db:.1f} dB, relative RMSE {total.relative_rmse:.2e}"
    return f"{result.bpw:.2f}", words


def _how(facts: CardFacts) -> str:
    known = facts.known
    if known.result is None:
        return ""
    rows = [
        ("Type", known.result.target),
        *settings_of(known.job),
        ("Size", f"{size(known.result.source_bytes)} before, {size(known.result.bytes)} now"),
        ("SHA-256", f"`{known.result.sha256}`"),
    ]
    return "## How it was made\n\n" + _table(("", ""), rows)


def _measured(known: Known) -> str:
    """Figures of the evaluation, where there was one."""
    model, run = known.evaluation, known.measured
    if model is None or run is None:
        return ""
    text = f"{', '.join(run.datasets)}; {run.tokens} tokens scored, windows of {run.context}"
    text += f"; activations {AS_RUN}" if run.as_run else ""
    return f"## Measured against the original\n\n{_table(('', ''), _figures(model))}\n\nText: {text}."


def _figures(model: ModelEvaluation) -> list[tuple[str, str]]:
    return [
        ("Perplexity", f"{model.ppl:.4f} ± {model.ppl_error:.4f} (original {model.ppl_base:.4f})"),
        ("KL divergence, mean", f"{model.mean_kld:.5f} ± {model.mean_kld_error:.5f} nats"),
        ("KL divergence, 99th percentile", f"{model.kld_99:.4f} nats"),
        ("Same most likely token", f"{model.same_top_p:.2f} % ± {model.same_top_p_error:.2f} %"),
    ]


def _run(facts: CardFacts) -> str:
    runs_in = ("llama.cpp", "Ollama") if facts.known.form == "gguf" else _runs_in(facts.known.export)
    parts = [_HOW_TO_RUN[program](facts) for program in runs_in if program in _HOW_TO_RUN]
    return "\n\n".join(["## How to run it", *parts]) if parts else ""


def _runs_in(export: str) -> tuple[str, ...]:
    return EXPORT[export].runs_in if export else ("transformers", "vLLM")


def _llama(facts: CardFacts) -> str:
    where = _tagged(facts)
    return f"llama.cpp:\n\n```\nllama-cli -hf {where}\nllama-server -hf {where}\n```"


def _ollama(facts: CardFacts) -> str:
    return f"Ollama:\n\n```\nollama run hf.co/{_tagged(facts)}\n```"


def _tagged(facts: CardFacts) -> str:
    return f"{facts.repo}:{facts.known.type}" if facts.known.type else facts.repo


def _transformers(facts: CardFacts) -> str:
    return (
        "transformers:\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{facts.repo}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{facts.repo}", device_map="auto")\n```'
    )


def _vllm(facts: CardFacts) -> str:
    return f"vLLM:\n\n```\nvllm serve {facts.repo}\n```"


_HOW_TO_RUN = {"llama.cpp": _llama, "Ollama": _ollama, "transformers": _transformers, "vLLM": _vllm}


def _table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(headers)} |", f"|{' --- |' * len(headers)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in rows)])
