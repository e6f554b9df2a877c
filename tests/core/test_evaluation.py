"""Evaluations against llama-perplexity, against plain arithmetic on whole logits, their bounds and their failures."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from core import engine
from core.errors import (
    Cancelled,
    CannotRun,
    NonFiniteActivations,
    OutputNotWritable,
    ReadFailed,
    SourceNotFound,
    TextTooShort,
    VocabulariesDiffer,
)
from core.evaluation import run as running
from core.evaluation.statistics import figures, window_error
from core.evaluation.tiles import Divergence, Room, Softmax
from core.evaluation.windows import read_windows
from core.jobs import Category, EvaluateJob, EvaluateResult, EvaluationFigures, QuantizeJob, QuantizeOptions
from core.network import states as hidden_states
from core.network.network import open_network
from core.progress import Progress
from core.sources import open_source
from core.texts import files_as_texts, own_texts, windows_of
from tests.core import hf_tiny
from tests.golden.make_evaluation import CHUNKS, CONTEXT, FILE, TEXT, TYPES, quantized

LICENSE = Path(__file__).parents[2] / "LICENSE"


def evaluated(source: Path, *models: Path, **options) -> EvaluateResult:
    job = EvaluateJob(
        source=str(source),
        models=tuple(map(str, models)),
        **{"text": (str(LICENSE),), "context": 32, "chunks": 4, **options},
    )
    return engine.run(job)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> SimpleNamespace:
    """A tiny random model and two quantizations of it; weights large enough for predictions to differ."""
    folder = tmp_path_factory.mktemp("tiny")
    weights = {name: 10 * tensor for name, tensor in hf_tiny.tensors(hf_tiny.CONFIG).items()}
    source = hf_tiny.build(folder / "tiny", weights=weights)
    made = {}
    for name in ("Q8_0", "Q4_0"):
        made[name] = folder / f"{name}.gguf"
        engine.run(QuantizeJob(source=str(source), output=str(made[name]), options=QuantizeOptions(target=name)))
    return SimpleNamespace(source=source, **made)


# ---------------------------------------------------------------- against llama-perplexity


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, float]]:
    return json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def measured(sample, tmp_path_factory) -> dict[str, object]:
    """Every type against the sample as F32 by the golden names: as llama.cpp runs it, and the same weights in F32."""
    folder = tmp_path_factory.mktemp("types")
    base, *types = (quantized(name, folder) for name in ("F32", *TYPES))
    found: dict[str, object] = {}
    for as_run, names in ((True, TYPES), (False, [f"{name}/F32" for name in TYPES])):
        result = evaluated(base, *types, text=(str(TEXT),), context=CONTEXT, chunks=CHUNKS, as_run=as_run)
        assert result.tokens == CHUNKS * (CONTEXT // 2 - 1)
        assert result.as_run == as_run
        found |= dict(zip(names, result.models, strict=True))
    return found


@pytest.mark.parametrize("name", TYPES)
def test_it_agrees_with_llama_perplexity_on_the_same_weights(name, golden, measured):
    found, expected = measured[f"{name}/F32"], golden[f"{name}/F32"]
    assert found.ppl_base == pytest.approx(expected["ppl_base"], rel=0.001)
    assert found.ppl == pytest.approx(expected["ppl"], rel=0.001)
    assert found.mean_kld == pytest.approx(expected["mean_kld"], rel=0.01, abs=2e-4)
    for figure in set(expected) - {"ppl", "ppl_base", "mean_kld"}:
        # Printed with three to six digits; extremes are single tokens.
        assert getattr(found, figure) == pytest.approx(expected[figure], rel=0.05, abs=0.25), figure


@pytest.mark.parametrize("name", TYPES)
def test_as_run_it_agrees_with_llama_perplexity_on_the_file(name, golden, measured):
    found, expected = measured[name], golden[name]
    assert found.mean_kld == pytest.approx(expected["mean_kld"], rel=0.03, abs=1e-3)
    # Two runs that round differently differ by this much: 512 tokens are few.
    assert abs(math.log(found.ppl / expected["ppl"])) < expected["ln_ratio_error"]
    assert found.same_top_p == pytest.approx(expected["same_top_p"], abs=2 * expected["same_top_p_error"])


# ---------------------------------------------------------------- against plain arithmetic


def test_the_figures_are_plain_statistics():
    chance = np.random.default_rng(1)
    nll_base, kld = chance.exponential(2, 400), chance.exponential(0.1, 400)
    nll, same = nll_base + chance.normal(0.1, 0.3, 400), chance.random(400) < 0.8
    found = figures(nll, nll_base, kld, same)
    by_window = {"ln_ratio_window_error", "mean_kld_window_error"}
    assert set(found) == set(EvaluationFigures.model_fields) - {"tokens"} - by_window

    def error(values):
        return values.std() / math.sqrt(399)

    change = 100 * (np.exp(-nll) - np.exp(-nll_base))
    shared = np.cov(nll, nll_base, bias=True)[0, 1] / 399
    ppl, ppl_base = math.exp(nll.mean()), math.exp(nll_base.mean())
    rms = math.sqrt(np.mean(change**2))
    ordered = np.sort(kld)
    place = 0.999 * 399
    between = ordered[int(place)] + (place - int(place)) * (ordered[int(place) + 1] - ordered[int(place)])
    expected = {
        "ppl": ppl,
        "ppl_error": ppl * error(nll),
        "ppl_base": ppl_base,
        "ppl_base_error": ppl_base * error(nll_base),
        "ppl_correlation": 100 * np.corrcoef(nll, nll_base)[0, 1],
        "ln_ratio": math.log(ppl / ppl_base),
        "ln_ratio_error": error(nll - nll_base),
        "ppl_ratio": ppl / ppl_base,
        "ppl_ratio_error": ppl / ppl_base * error(nll - nll_base),
        "ppl_difference": ppl - ppl_base,
        "ppl_difference_error": math.sqrt(
            (ppl * error(nll)) ** 2 + (ppl_base * error(nll_base)) ** 2 - 2 * ppl * ppl_base * shared
        ),
        "mean_kld": kld.mean(),
        "mean_kld_error": error(kld),
        "max_kld": kld.max(),
        "kld_99_9": between,
        "median_kld": np.median(kld),
        "min_kld": kld.min(),
        "mean_dp": change.mean(),
        "mean_dp_error": error(change),
        "max_dp": change.max(),
        "median_dp": np.median(change),
        "min_dp": change.min(),
        "rms_dp": rms,
        "rms_dp_error": error(change**2) / (2 * rms),
        "same_top_p": 100 * same.mean(),
        "same_top_p_error": 100 * math.sqrt(same.mean() * (1 - same.mean()) / 399),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    for prefix in ("kld", "dp"):
        order = [name for name in found if name in (f"max_{prefix}", f"median_{prefix}", f"min_{prefix}")]
        order += [name for name in found if name.startswith(f"{prefix}_")]
        values = sorted((found[name] for name in order), reverse=True)
        assert values[0] == found[f"max_{prefix}"]
        assert values[-1] == found[f"min_{prefix}"]


@pytest.mark.parametrize("windows", [2, 3, 4, 8, 40])
def test_an_error_over_windows_holds_the_truth_as_often_as_it_says(windows):
    chance = np.random.default_rng(windows)
    hard = chance.normal(0, 1, (4000, windows, 1))  # what all tokens of a window share
    values = hard + chance.normal(0, 1, (4000, windows, 20))
    held = np.mean([abs(each.mean()) < window_error(each) for each in values])
    assert held == pytest.approx(0.6827, abs=0.025)
    alone = np.mean([abs(each.mean()) < each.std() / math.sqrt(each.size - 1) for each in values])
    assert alone < 0.35


def test_of_one_window_or_equal_windows_the_error_is_finite():
    one = np.random.default_rng(3).normal(0, 1, (1, 400))
    assert window_error(one) == pytest.approx(one.std() / math.sqrt(399))
    assert window_error(np.ones((5, 20))) == 0
    assert window_error(np.ones((1, 1))) == 0


def test_figures_of_few_tokens_and_of_equal_models_are_finite():
    one, zero = np.array([1.5]), np.zeros(1)
    for nll, kld in ((one, zero), (np.full(300, 1.5), np.zeros(300))):
        found = figures(nll, nll, kld, np.ones(len(nll), bool))
        assert all(map(math.isfinite, found.values()))
        assert (found["ln_ratio"], found["ln_ratio_error"], found["mean_kld"], found["rms_dp"]) == (0, 0, 0, 0)
        assert found["same_top_p"] == 100


@pytest.mark.parametrize("tile", [1, 7, 50])
def test_tiles_give_what_whole_logits_give(tile):
    chance = torch.Generator().manual_seed(2)
    base = 30 * torch.randn(12, 50, generator=chance)
    other = base + torch.randn(12, 50, generator=chance)
    base[0, [3, 40]] = 200.0  # two likeliest: the first counts
    targets = torch.arange(12) * 4
    rooms = Room(), Room()
    sums = Softmax(targets, rooms[0]), Softmax(targets, rooms[1])
    divergence = Divergence(*sums, rooms[1])
    for first in range(0, 50, tile):
        pair = base[:, first : first + tile], other[:, first : first + tile]
        given = sums[0].add(first, pair[0])
        sums[1].add(first, pair[1])
        divergence.add(*given, *pair)
    expected, p = plain(base, other, targets)
    assert sums[1].nll == pytest.approx(expected["nll"], abs=1e-5)
    assert divergence.kld == pytest.approx(expected["kld"], abs=1e-5)
    assert sums[0].top.tolist() == p.argmax(-1).tolist()
    assert sums[0].top[0] == 3


def plain(base: torch.Tensor, other: torch.Tensor, targets: torch.Tensor) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """-ln p of the targets and divergence of (n, vocabulary) logits in double precision, and the base's p."""
    ours, theirs = (torch.log_softmax(logits.double(), -1) for logits in (base, other))
    rows = torch.arange(len(targets))
    kld = (ours.exp() * (ours - theirs)).sum(-1)
    return {"nll": -theirs[rows, targets].numpy(), "kld": kld.numpy()}, ours.exp()


def whole_logits(model: Path, ids: np.ndarray) -> torch.Tensor:
    """(windows, length, vocabulary)."""
    with open_source(model) as source, open_network(source) as network, torch.no_grad():
        hidden = network.embed(ids)
        for number in range(network.layers):
            with network.layer(number) as layer:
                hidden = layer(hidden)
        return network.logits(hidden)


def test_the_layered_run_is_that_of_whole_logits(tiny, monkeypatch):
    monkeypatch.setattr(hidden_states, "BATCH_TOKENS", 64)  # several batches, the last not full
    result = evaluated(tiny.source, tiny.Q8_0, tiny.Q4_0, chunks=5)
    with open_source(tiny.source) as source, open_network(source) as network:
        ids, _ = windows_of(files_as_texts((str(LICENSE),)), network.tokenizer, 32, 5)
    base = whole_logits(tiny.source, ids)[:, 16:31].reshape(5 * 15, -1)
    targets = torch.from_numpy(ids[:, 17:].reshape(-1))
    for model, path in zip(result.models, (tiny.Q8_0, tiny.Q4_0), strict=True):
        other = whole_logits(path, ids)[:, 16:31].reshape(5 * 15, -1)
        own, _ = plain(base, other, targets)
        before, _ = plain(base, base, targets)
        same = (base.argmax(-1) == other.argmax(-1)).numpy()
        expected = figures(own["nll"], before["nll"], own["kld"], same)
        assert {name: getattr(model, name) for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)
        first = model.disagreements[0]
        assert first.kld == model.max_kld
        place = int(own["kld"].argmax())
        assert (first.window, first.position) == (place // 15, place % 15 + 17)
        assert first.p == pytest.approx(math.exp(-own["nll"][place]), rel=1e-3)
        assert first.p_base == pytest.approx(math.exp(-before["nll"][place]), rel=1e-3)
        assert len(first.before) > len(first.token) > 0
    small, large = result.models
    assert 0 < small.mean_kld < large.mean_kld
    assert (result.chunks, result.tokens, result.datasets) == (5, 75, (str(LICENSE),))
    assert small.bytes == tiny.Q8_0.stat().st_size


def test_a_model_does_not_differ_from_itself(tiny):
    (found,) = evaluated(tiny.source, tiny.source).models
    assert (found.mean_kld, found.max_kld, found.rms_dp, found.same_top_p) == (0, 0, 0, 100)
    assert found.ppl == found.ppl_base
    assert found.disagreements == ()


def test_hidden_states_on_disk_give_the_same(tiny, own_folders, monkeypatch):
    expected = evaluated(tiny.source, tiny.Q4_0).models
    monkeypatch.setattr(hidden_states, "SHARE", 0.0)
    assert evaluated(tiny.source, tiny.Q4_0).models == expected
    assert list((own_folders / "data").iterdir()) == []


def test_every_layer_is_loaded_once(tiny, monkeypatch):
    loaded = []
    inside = []

    def opening(source, device, roundings):
        network = open_network(source, device, roundings)
        layer = network.layer

        @contextmanager
        def watched(number):
            loaded.append((source.path.name, number))
            with layer(number) as found:
                inside.append(number)
                assert len(inside) == 1  # never two layers in memory
                yield found
                inside.pop()

        network.layer = watched
        return network

    monkeypatch.setattr(running, "open_network", opening)
    monkeypatch.setattr(hidden_states, "BATCH_TOKENS", 32)
    evaluated(tiny.source, tiny.Q8_0, tiny.Q4_0)
    assert len(loaded) == len(set(loaded)) == 3 * 2


def test_as_run_counts_rounded_activations_of_gguf_files_and_nothing_else(tiny):
    plain = evaluated(tiny.source, tiny.source, tiny.Q8_0).models
    rounded = evaluated(tiny.source, tiny.source, tiny.Q8_0, as_run=True)
    assert rounded.models[0].mean_kld == 0  # a folder, which llama.cpp does not run
    assert rounded.models[1].mean_kld > 1.2 * plain[1].mean_kld
    assert rounded.warnings == ()
    assert "no" in evaluated(tiny.source, tiny.source, as_run=True).warnings[0]
    (same,) = evaluated(tiny.Q8_0, tiny.Q8_0, as_run=True).models  # the original is run alike
    assert same.mean_kld == 0


# ---------------------------------------------------------------- texts


class Letters:
    """A tokenizer whose tokens are letters."""

    bos = None
    has_template = False

    def encode(self, text, *, special=False):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def test_windows_come_in_turns_and_know_their_category():
    assert set(get_args(Category)) == {text.name for text in own_texts("evaluation")}
    job = EvaluateJob(source="a", models=("b",), context=64, chunks=6)
    found = read_windows(job, Letters())
    assert found.categories == ("chat", "code", "languages", "prose", "chat", "code")
    assert np.array_equal(found.ids, windows_of((), Letters(), 64, 6, "evaluation")[0])
    only = read_windows(job.model_copy(update={"categories": ("prose",)}), Letters())
    assert (set(only.categories), only.texts) == ({"prose"}, ("evaluation/prose.txt",))


def test_a_text_too_short_is_left_out_or_refused(tmp_path):
    job = EvaluateJob(source="a", models=("b",), context=10_000)
    found = read_windows(job, Letters())
    assert set(found.categories) == {"code"}
    assert found.short == ("chat", "languages", "prose")
    with pytest.raises(TextTooShort, match="prose"):
        read_windows(job.model_copy(update={"categories": ("prose",)}), Letters())


def test_categories_have_their_own_figures(tiny):
    (found,) = evaluated(tiny.source, tiny.Q4_0, text=(), chunks=8).models
    assert [part.category for part in found.categories] == ["chat", "code", "languages", "prose"]
    assert [part.tokens for part in found.categories] == [30] * 4
    parts = [part.mean_kld for part in found.categories]
    assert len(set(parts)) == 4
    assert found.mean_kld == pytest.approx(np.mean(parts))
    assert {shown.category for shown in found.disagreements} <= {"chat", "code", "languages", "prose"}


# ---------------------------------------------------------------- failures


def test_what_cannot_be_done_is_said_before_any_work(tiny, tmp_path, monkeypatch):
    def work(*_):
        raise AssertionError("it began to work")

    monkeypatch.setattr(running, "scores_of", work)
    for name, content in (("empty", b""), ("short", b"Too short."), ("bytes", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
    texts = (("empty", TextTooShort), ("short", TextTooShort), ("none", SourceNotFound), ("bytes", ReadFailed))
    for name, leaf in texts:
        with pytest.raises(leaf, match=name):
            evaluated(tiny.source, tiny.Q8_0, text=(str(tmp_path / name),))
    more = hf_tiny.build(tmp_path / "more", config={"vocab_size": 310})
    letters = hf_tiny.tokenizer()
    names = letters["model"]["vocab"]
    first, second = list(names)[20:22]
    names[first], names[second] = names[second], names[first]
    swapped = hf_tiny.build(tmp_path / "swapped", files={"tokenizer.json": letters})
    for other, words in ((more, "310"), (swapped, "token 20")):
        with pytest.raises(VocabulariesDiffer, match=words):
            evaluated(tiny.source, tiny.Q8_0, other)
    with pytest.raises(CannotRun, match="its context"):
        evaluated(tiny.source, tiny.Q8_0, context=1 << 20)
    with pytest.raises(SourceNotFound, match=r"none\.gguf"):
        evaluated(tiny.source, tmp_path / "none.gguf")
    monkeypatch.setenv("BITWRIGHT_DATA_DIR", str(tmp_path / "empty" / "data"))
    with pytest.raises(OutputNotWritable):
        evaluated(tiny.source, tiny.Q8_0)


def test_damaged_weights_are_noticed(tiny, tmp_path):
    weights = hf_tiny.tensors(hf_tiny.CONFIG)
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = np.nan
    damaged = hf_tiny.build(tmp_path / "damaged", weights=weights)
    with pytest.raises(NonFiniteActivations, match="damaged"):
        evaluated(tiny.source, damaged)


def test_it_can_be_stopped_at_any_moment(tiny, own_folders):
    job = EvaluateJob(source=str(tiny.source), models=(str(tiny.Q4_0),), text=(str(LICENSE),), context=32, chunks=2)
    seen = []
    running.evaluate(job, Progress(seen.append, lambda: bool(seen.append(None))))
    calls = seen.count(None)
    assert calls > 8
    for stop in range(0, calls, 4):
        left = iter(range(stop))
        with pytest.raises(Cancelled):
            running.evaluate(job, Progress(cancelled=lambda left=left: next(left, None) is None))
    assert list((own_folders / "data").iterdir()) == []
