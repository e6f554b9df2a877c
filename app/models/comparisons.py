"""Finished evaluations, gathered by original and text, and their figures as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt

from app import text
from app.models.columns import Column, RowsModel
from app.models.names import model_title, short_titles
from app.models.plan import mib
from core.jobs import CategoryEvaluation, Disagreement, EvaluateResult, ModelEvaluation
from core.report.front import pareto
from core.store import JobRecord

_T = QT_TRANSLATE_NOOP
translate = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class Measured:
    """A model with its figures. name: its path. short: what tells it from the others it is shown with."""

    name: str
    evaluation: ModelEvaluation
    short: str = ""

    @property
    def title(self) -> str:
        """Its name as its path tells it."""
        return model_title(self.name)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All models measured against one original on the same windows, smallest file first; of one model the latest run.

    id: of the latest job. ids: of all of them.
    """

    id: str
    ids: frozenset[str]
    finished: float
    result: EvaluateResult

    @property
    def output(self) -> str:
        """What tells it from other entries of the history."""
        found = self.result
        return "|".join((found.source, *found.datasets, str(found.context), str(found.chunks), str(found.as_run)))

    @property
    def models(self) -> tuple[Measured, ...]:
        """Its models."""
        models = self.result.models
        short = short_titles([model_title(model.model) for model in models])
        return tuple(Measured(model.model, model, name) for model, name in zip(models, short, strict=True))

    @property
    def title(self) -> str:
        """The first line of its entry."""
        return model_title(self.result.source)

    @property
    def caption(self) -> str:
        """The second line of its entry."""
        count = len(self.result.models)
        words = translate("Comparisons", "Compared: 1 model") if count == 1 else _many(count)
        return f"{words} · {self.length} · {text.moment(self.finished)}"

    @property
    def length(self) -> str:
        """How much text it is from."""
        words = translate("Comparisons", "{0} tokens").format(text.count(self.result.tokens))
        return f"{words} · {translate('Comparisons', 'as llama.cpp runs them')}" if self.result.as_run else words


def _many(count: int) -> str:
    return translate("Comparisons", "Compared: {0} models").format(count)


def comparisons(records: Iterable[JobRecord]) -> list[Comparison]:
    """The finished evaluations among these, those of one original on the same windows together."""
    done = sorted((r for r in records if isinstance(r.result, EvaluateResult)), key=lambda r: r.finished or 0)
    groups: dict[tuple[Any, ...], list[JobRecord]] = {}
    for record in done:
        result = record.result
        assert isinstance(result, EvaluateResult)
        key = (result.source, result.datasets, result.context, result.chunks, result.as_run)
        groups.setdefault(key, []).append(record)
    return [_gathered(group) for group in groups.values()]


def _gathered(records: Sequence[JobRecord]) -> Comparison:
    latest = records[-1]
    assert isinstance(latest.result, EvaluateResult)
    models: dict[str, ModelEvaluation] = {}
    for record in records:
        assert isinstance(record.result, EvaluateResult)
        models |= {model.model: model for model in record.result.models}
    merged = tuple(sorted(models.values(), key=lambda model: (model.bytes, model.model)))
    return Comparison(
        id=latest.id,
        ids=frozenset(record.id for record in records),
        finished=latest.finished or latest.created,
        result=latest.result.model_copy(update={"models": merged}),
    )


# ---------------------------------------------------------------- tables


def _figure(key: str) -> Any:
    return lambda row: getattr(row.evaluation, key)


def _five(value: float) -> str:
    return f"{value:.5f}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _two(value: float) -> str:
    return f"{value:.2f}"


# key, title, shown, glossary entry: the figures of a model or of a kind of text.
FIGURES: tuple[tuple[str, str, Any, str], ...] = (
    ("mean_kld", _T("Comparisons", "Mean KLD"), _five, "kld"),
    ("mean_kld_error", _T("Comparisons", "±"), _five, "standard_error"),
    ("mean_kld_window_error", _T("Comparisons", "± by windows"), _five, "window_error"),
    ("median_kld", _T("Comparisons", "Median"), _five, "kld"),
    ("kld_99", _T("Comparisons", "99 %"), text.number, "kld"),
    ("max_kld", _T("Comparisons", "Max"), text.number, "kld"),
    ("ppl", _T("Comparisons", "Perplexity"), _three, "perplexity"),
    ("ppl_error", _T("Comparisons", "±"), _three, "standard_error"),
    ("ppl_base", _T("Comparisons", "Original's"), _three, "perplexity"),
    ("ln_ratio", _T("Comparisons", "ln ratio"), _five, "ln_ratio"),
    ("ln_ratio_error", _T("Comparisons", "±"), _five, "standard_error"),
    ("ln_ratio_window_error", _T("Comparisons", "± by windows"), _five, "window_error"),
    ("mean_dp", _T("Comparisons", "Mean Δp, %"), _three, "delta_p"),
    ("rms_dp", _T("Comparisons", "RMS Δp, %"), _three, "delta_p"),
    ("same_top_p", _T("Comparisons", "Same top, %"), _two, "same_top_p"),
    ("same_top_p_error", _T("Comparisons", "±"), _two, "standard_error"),
)


def figure_columns() -> tuple[Column, ...]:
    """A column for each figure."""
    return tuple(Column(key, title, _figure(key), shown, True, term) for key, title, shown, term in FIGURES)


class ComparisonModel(RowsModel):
    """Rows of a Comparison: every model with its figures, the twin of the plot of sizes."""

    CONTEXT = "Comparisons"
    COLUMNS = (
        Column("model", _T("Comparisons", "Model"), lambda row: row.short),
        Column("bytes", _T("Comparisons", "Size, MiB"), lambda row: row.evaluation.bytes, mib, True),
        *figure_columns(),
        Column("path", _T("Comparisons", "Path"), lambda row: row.name),
    )

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """Paths as tooltips."""
        return row.name if role == Qt.ItemDataRole.ToolTipRole and column.key == "model" else None


@dataclass(frozen=True, slots=True)
class OfCategory:
    """The figures of one model on one kind of text."""

    model: Measured
    evaluation: CategoryEvaluation

    @property
    def name(self) -> str:
        """What tells it from other rows."""
        return f"{self.model.name}|{self.evaluation.category}"


def of_categories(models: Iterable[Measured]) -> list[OfCategory]:
    """A row for every model and kind of text."""
    return [OfCategory(model, part) for model in models for part in model.evaluation.categories]


class CategoriesModel(RowsModel):
    """Figures by model and kind of text, the twin of the bars."""

    CONTEXT = "Comparisons"
    COLUMNS = (
        Column("category", _T("Comparisons", "Kind of text"), lambda row: row.evaluation.category),
        Column("model", _T("Comparisons", "Model"), lambda row: row.model.short),
        Column("tokens", _T("Comparisons", "Tokens"), lambda row: row.evaluation.tokens, text.exact, True),
        *figure_columns(),
    )


@dataclass(frozen=True, slots=True)
class Token:
    """One disagreement of a model with its original. number: its rank, from 1."""

    number: int
    found: Disagreement

    @property
    def name(self) -> str:
        """What tells it from other rows."""
        return str(self.number)


def one_line(words: str) -> str:
    """On one line, with what would move the cursor shown instead."""
    return "".join("⏎" if letter == "\n" else letter if letter.isprintable() else "·" for letter in words)


class TokensModel(RowsModel):
    """The tokens where a model disagrees most with its original, the twin of the coloured text."""

    CONTEXT = "Comparisons"
    COLUMNS = (
        Column("rank", _T("Comparisons", "Rank"), lambda row: row.number, str, True),
        Column("kld", _T("Comparisons", "KLD"), lambda row: row.found.kld, _three, True, "kld"),
        Column("category", _T("Comparisons", "Kind of text"), lambda row: row.found.category),
        Column("before", _T("Comparisons", "Before it"), lambda row: row.found.before, lambda s: one_line(s)[-40:]),
        Column("token", _T("Comparisons", "Token that came"), lambda row: row.found.token, one_line),
        Column("p", _T("Comparisons", "p, %"), lambda row: 100 * row.found.p, _two, True, "delta_p"),
        Column("p_base", _T("Comparisons", "Original's p, %"), lambda row: 100 * row.found.p_base, _two, True),
        Column("top", _T("Comparisons", "Likeliest"), lambda row: row.found.top, one_line),
        Column("top_base", _T("Comparisons", "Original's"), lambda row: row.found.top_base, one_line),
    )


# ---------------------------------------------------------------- findings


def finding(comparison: Comparison) -> str:
    """The comparison in a sentence or two."""
    models = comparison.models
    closest = min(models, key=lambda model: model.evaluation.mean_kld)
    figures = closest.evaluation
    words = translate("Comparisons", "{0} is closest to the original: {1} ± {2} nats of divergence per token.").format(
        closest.title, f"{figures.mean_kld:.5f}", f"{figures.mean_kld_window_error:.5f}"
    )
    front = pareto([(model.evaluation.bytes, model.evaluation.mean_kld) for model in models])
    beaten = len(models) - len(front)
    if beaten:
        words += " " + (
            translate("Comparisons", "1 of {0} models is both larger and worse than another.").format(len(models))
            if beaten == 1
            else translate("Comparisons", "{1} of {0} models are larger and worse than others.").format(
                len(models), beaten
            )
        )
    return words
