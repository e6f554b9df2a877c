"""Measuring models against the original on a text, and the figures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.values import Value

# The kinds of the texts in resources/evaluation.
Category = Literal["chat", "code", "languages", "prose"]


# What is told of a result of EvaluateJob.as_run.
AS_RUN = "rounded as llama.cpp rounds them while it runs GGUF files"
# Tokens of a window, and how many windows, one of each kind, for a quick look.
CONTEXT, QUICK_CHUNKS = 512, 4


class EvaluateJob(Value):
    """Measures how far `models` have gone from `source` on a text. Answer: EvaluateResult.

    text: paths of text files, () = the evaluation texts that come with the program, of which `categories` chooses, () =
    all. context: tokens of one window, of which the second half is scored. chunks: how many windows at most, 0 = all
    that the texts give. as_run: GGUF files, the source too, with activations rounded as llama.cpp rounds them while it
    runs them on a processor.
    """

    kind: Literal["evaluate"] = "evaluate"
    source: str
    models: tuple[str, ...] = Field(min_length=1)
    text: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    context: int = Field(default=CONTEXT, ge=16)
    chunks: int = Field(default=0, ge=0)
    as_run: bool = False
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"


class EvaluationFigures(Value):
    """llama-perplexity's figures under its names (core.evaluation.statistics): NAME_error is one standard error.

    tokens: how many were scored. ppl: perplexity, ppl_base: the source's. ln_ratio: ln(ppl / ppl_base). kld: Kullback-
    Leibler divergence KL(source || model) of a token in nats, with its percentiles over tokens. dp: change of the
    probability of the token that came, in percent. same_top_p: how often both find the same token likeliest, in
    percent; so is ppl_correlation, of the two logarithms of perplexities. NAME_error takes tokens as independent, as
    that program does; NAME_window_error counts what differs between windows (statistics.window_error) and is the one to
    judge by, above all where windows are few.
    """

    tokens: int
    ppl: float
    ppl_error: float
    ppl_base: float
    ppl_base_error: float
    ppl_correlation: float
    ln_ratio: float
    ln_ratio_error: float
    ln_ratio_window_error: float
    ppl_ratio: float
    ppl_ratio_error: float
    ppl_difference: float
    ppl_difference_error: float
    mean_kld: float
    mean_kld_error: float
    mean_kld_window_error: float
    max_kld: float
    kld_99_9: float
    kld_99: float
    kld_95: float
    kld_90: float
    median_kld: float
    kld_10: float
    kld_5: float
    kld_1: float
    kld_0_1: float
    min_kld: float
    mean_dp: float
    mean_dp_error: float
    max_dp: float
    dp_99_9: float
    dp_99: float
    dp_95: float
    dp_90: float
    dp_75: float
    median_dp: float
    dp_25: float
    dp_10: float
    dp_5: float
    dp_1: float
    dp_0_1: float
    min_dp: float
    rms_dp: float
    rms_dp_error: float
    same_top_p: float
    same_top_p_error: float


class CategoryEvaluation(EvaluationFigures):
    """The figures of one kind of text, or of one of the user's files (then its path)."""

    category: str


class Disagreement(Value):
    """A token where model and source disagree much, with the text around it, which is cut at tokens.

    window, position: which token of which window. kld: in nats. p, p_base: the probability, 0 to 1, that the model and
    the source gave the token that came. top, top_base: the token that each found likeliest.
    """

    category: str
    window: int
    position: int
    before: str
    token: str
    after: str
    kld: float
    p: float
    p_base: float
    top: str
    top_base: str


class ModelEvaluation(EvaluationFigures):
    """One model's figures over all tokens and by category. bytes: of its files. disagreements: the largest first."""

    model: str
    bytes: int
    categories: tuple[CategoryEvaluation, ...]
    disagreements: tuple[Disagreement, ...]


class EvaluateResult(Value):
    """A finished evaluation, its models in the order asked. datasets: the texts read, by name.

    chunks: windows read. tokens: scored in them. as_run: whether GGUF files were run as llama.cpp does. warnings: what
    the user should know, one sentence each.
    """

    source: str
    source_bytes: int
    architecture: str
    datasets: tuple[str, ...]
    context: int
    chunks: int
    as_run: bool
    tokens: int
    seconds: float
    peak_memory_bytes: int
    models: tuple[ModelEvaluation, ...]
    warnings: tuple[str, ...] = ()
