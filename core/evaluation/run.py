"""`evaluate`: perplexity, Kullback-Leibler divergence and agreement of models with their original on a text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core import memory
from core.errors import CannotRun, OutputNotWritable, VocabulariesDiffer
from core.evaluation.scores import Scores, scores_of
from core.evaluation.statistics import figures, window_error
from core.evaluation.windows import Windows, first_scored, read_windows
from core.given_texts import given_texts
from core.jobs import CategoryEvaluation, Disagreement, EvaluateJob, EvaluateResult, ModelEvaluation
from core.network.network import Network, check_context, open_network
from core.network.tokenizer import Tokenizer
from core.progress import Progress
from core.sources import Source, open_source
from core.sources.llama_rounding import llama_roundings
from core.store import data_dir

# Of how many tokens a model is shown where it disagrees most, and how many tokens before and after each.
SHOWN, BEFORE, AFTER = 40, 24, 8


def evaluate(job: EvaluateJob, progress: Progress) -> EvaluateResult:
    """Measures every model of the job against its source; see core.evaluation.statistics for the figures.

    Raises, before anything is computed: CannotRun, VocabulariesDiffer, TextTooShort, SourceNotFound, ReadFailed,
    DeviceNotAvailable, OutputNotWritable; later what scores_of raises.
    """
    started = time.perf_counter()
    memory.return_large_buffers()
    memory.reset_peak()
    if job.threads:
        torch.set_num_threads(job.threads)
    given = given_texts(job.text, "evaluation", progress)
    progress.stage("Reading the models")
    with ExitStack() as stack:
        networks = [_opened(stack, path, job) for path in (job.source, *job.models)]
        for other in networks[1:]:
            _check_vocabulary(networks[0], other)
        progress.stage("Reading the text")
        tokenizer = networks[0].tokenizer
        windows = read_windows(job, tokenizer, given)
        base, *scores = scores_of(networks, windows.ids, spare_folder(), progress)
        models = tuple(
            _model(network, windows, base, own, tokenizer) for network, own in zip(networks[1:], scores, strict=True)
        )
        source = networks[0].source
        rounding = [network.source.path.name for network in networks if network.source.input_roundings]
        in_vain = job.as_run and not any(network.source.format == "gguf" for network in networks)
    return EvaluateResult(
        source=job.source,
        source_bytes=source.file_bytes,
        architecture=source.architecture,
        datasets=windows.texts,
        context=job.context,
        chunks=len(windows.ids),
        as_run=job.as_run,
        tokens=base.nll.size,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=memory.peak_bytes(),
        models=models,
        warnings=(
            *(f"{name} is shorter than a window of {job.context} tokens" for name in windows.short),
            *(f"{name} rounds activations while it runs; its figures count that, too" for name in rounding),
            *(["none of the models is a GGUF file: nothing is computed as llama.cpp does"] if in_vain else []),
        ),
    )


# ---------------------------------------------------------------- before


def _opened(stack: ExitStack, path: str, job: EvaluateJob) -> Network:
    source = stack.enter_context(open_source(path))
    check_context(source, job.context)
    as_llama = job.as_run and source.format == "gguf"
    return stack.enter_context(open_network(source, job.device, llama_roundings(source) if as_llama else None))


def _check_vocabulary(base: Network, other: Network) -> None:
    """The same number must mean the same token in both. Raises VocabulariesDiffer."""
    paths = (str(base.source.path), str(other.source.path))
    if base.vocabulary != other.vocabulary:
        raise VocabulariesDiffer(*paths, f"one has {base.vocabulary} tokens, the other {other.vocabulary}")
    pairs = zip_longest(_tokens(base.source), _tokens(other.source))
    for number, (ours, theirs) in enumerate(pairs):
        if ours != theirs:
            raise VocabulariesDiffer(*paths, f"token {number} is {ours!r} in one and {theirs!r} in the other")


def _tokens(source: Source) -> Sequence[Any]:
    found = next((entry.value for entry in source.metadata if entry.key == "tokenizer.ggml.tokens"), None)
    if found is None:
        raise CannotRun(str(source.path), "it has no vocabulary")
    return list(found)


def spare_folder() -> Path:
    """Where hidden states may go. Raises OutputNotWritable."""
    folder = data_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(str(folder), error.strerror or str(error)) from error
    return folder


# ---------------------------------------------------------------- after


def _model(network: Network, windows: Windows, base: Scores, own: Scores, tokenizer: Tokenizer) -> ModelEvaluation:
    return ModelEvaluation(
        model=str(network.source.path),
        bytes=network.source.file_bytes,
        categories=tuple(_by_category(windows.categories, base, own)),
        disagreements=tuple(_disagreements(windows, base, own, tokenizer)),
        **_figures(base, own),
    )


def _figures(base: Scores, own: Scores) -> dict[str, Any]:
    flat = (own.nll.ravel(), base.nll.ravel(), own.kld.ravel(), (own.top == base.top).ravel())
    by_window = {
        "ln_ratio_window_error": window_error(own.nll - base.nll),
        "mean_kld_window_error": window_error(own.kld),
    }
    return {"tokens": own.nll.size} | figures(*flat) | by_window


def _by_category(categories: Sequence[str], base: Scores, own: Scores) -> Iterator[CategoryEvaluation]:
    of_window = np.array(categories)
    for category in dict.fromkeys(categories):
        rows = of_window == category
        yield CategoryEvaluation(category=category, **_figures(base[rows], own[rows]))


def _disagreements(windows: Windows, base: Scores, own: Scores, tokenizer: Tokenizer) -> Iterator[Disagreement]:
    """The tokens with the largest divergence, in their context, largest first; none where there is no divergence."""
    start = first_scored(windows.ids.shape[1]) + 1
    for flat in np.argsort(-own.kld, axis=None, kind="stable")[:SHOWN]:
        window, scored = np.unravel_index(flat, own.kld.shape)
        at = (window, scored)
        if own.kld[at] <= 0:
            return
        ids, position = windows.ids[window], start + int(scored)
        yield Disagreement(
            category=windows.categories[window],
            window=int(window),
            position=position,
            before=tokenizer.decode(ids[max(position - BEFORE, 0) : position].tolist()),
            token=tokenizer.decode([int(ids[position])]),
            after=tokenizer.decode(ids[position + 1 : position + 1 + AFTER].tolist()),
            kld=float(own.kld[at]),
            p=float(np.exp(-own.nll[at])),
            p_base=float(np.exp(-base.nll[at])),
            top=tokenizer.decode([int(own.top[at])]),
            top_base=tokenizer.decode([int(base.top[at])]),
        )
