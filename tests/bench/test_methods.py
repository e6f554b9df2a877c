"""The comparison of methods: an order that does not hold is told of, and figures come from the published layouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app import cli, cli_quantize
from bench.judge import CATEGORIES, Score, Tokens
from bench.kept import Kept, figures
from bench.layer_errors import Errors
from bench.method_rows import ROWS, Row
from bench.orders import ORDERS, Measured, Order, judged, pooled, standard_error
from bench.peers import unpacked
from core.checkpoints.settings import settled


def measured(output: float, ppl: float = 10.0) -> Measured:
    """A row of which only these two figures differ."""
    scores = {name: Score(ppl, 0.1, 1.0, 90.0) for name in CATEGORIES}
    return Measured(4.5, 1.0, 1 << 20, Errors(1.0, 1.0, output), scores, {name: tokens(0) for name in CATEGORIES})


def tokens(seed: int, count: int = 640) -> Tokens:
    random = np.random.default_rng(seed)
    return Tokens(*(random.random(count, dtype=np.float32) for _ in range(3)))


def test_orders_name_rows_that_are_there() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert {name for order in ORDERS for name in order.rows} <= set(names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_are_commands(row: Row) -> None:
    words = row.command(Path("source"), Path("target"), Path("imatrix"), 16)
    job = cli_quantize.asked_checkpoint(cli.make_parser().parse_args(words[2:]))
    assert settled(job.options).is_calibrated == row.calibrated


def test_an_order_that_holds() -> None:
    found = {"a": measured(1.0), "b": measured(2.0), "c": measured(2.0)}
    assert Order("", ("a", "b", "c"), ("output", "ppl")).misses(found) == []


def test_an_order_that_must_be_strict() -> None:
    found = {"a": measured(2.0), "b": measured(2.0)}
    assert len(Order("", ("a", "b"), ("output",), strict=True).misses(found)) == 1


def test_figures_of_texts_are_compared_category_by_category() -> None:
    found = {"a": measured(1.0, 11.0), "b": measured(2.0, 10.0)}
    misses = Order("", ("a", "b"), ("output", "ppl")).misses(found)
    assert [words.split(":")[0] for words in misses] == [f"ppl on {name}" for name in CATEGORIES]


def test_of_two_figures_one_is_enough_and_the_other_is_told_of() -> None:
    found = {"a": measured(3.0), "b": measured(2.0)}
    order = Order("", ("a", "b"), ("kld|output", "ppl"))
    assert order.misses(found) == []
    assert [words.split(":")[0] for words in order.excused(found)] == ["output"]


def test_neither_of_two_figures_is_a_miss() -> None:
    found = {"a": measured(3.0), "b": measured(2.0)}
    assert len(Order("", ("a", "b"), ("kld|output",), strict=True).misses(found)) == len(CATEGORIES) + 1


def test_a_figure_that_was_not_measured_is_no_success() -> None:
    assert len(Order("", ("a", "b"), ("output",)).misses({"a": measured(float("nan")), "b": measured(1.0)})) == 1


def test_the_standard_error_is_that_of_the_difference_on_the_same_tokens() -> None:
    first, second = tokens(1, 8192), tokens(2, 8192)
    assert standard_error(first, first, "kld") == 0
    expected = (first.kld - second.kld).std() / np.sqrt(8192)
    assert standard_error(first, second, "kld") == pytest.approx(expected, rel=0.2)


def test_figures_of_several_models_are_those_of_all_their_tokens() -> None:
    parts = [
        replace(measured(output), tokens={name: tokens(seed) for name in CATEGORIES})
        for seed, output in enumerate((1.0, 4.0))
    ]
    whole = pooled(parts)
    assert whole.value("output") == 2.5
    assert len(whole.tokens["code"].kld) == 1280
    assert whole.value("kld", "code") == pytest.approx(
        np.mean([part.tokens["code"].kld.mean() for part in parts]), rel=1e-6
    )
    assert pooled([parts[0], replace(parts[1], errors=None)]).errors is None


def test_what_was_measured_is_kept_until_settings_change(tmp_path: Path) -> None:
    row, made = Row("a row", "--method int"), measured(1.5)
    Kept(tmp_path, {"windows": 2}).put(row, made)
    again = Kept(tmp_path, {"windows": 2}).get(row)
    assert again is not None
    assert figures(again) == figures(made)
    assert (again.tokens["code"].kld == made.tokens["code"].kld).all()
    assert Kept(tmp_path, {"windows": 3}).get(row) is None
    assert Kept(tmp_path, {"windows": 2}).get(Row("a row", "--method hqq")) is None


def test_misses_are_counted_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"int4 g32": measured(3.0, 11.0), "int4 g64": measured(2.0)}
    assert judged(found) == 1
    assert "MISSED: smaller groups" in capsys.readouterr().out


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_words_are_unpacked_lowest_bits_first(bits: int) -> None:
    numbers = np.random.default_rng(bits).integers(0, 1 << bits, (64, 3))
    bit = (numbers[:, :, None] >> np.arange(bits)) & 1
    stream = bit.transpose(0, 2, 1).reshape(-1, 32, 3).astype(np.uint64)
    words = (stream << np.arange(32, dtype=np.uint64)[None, :, None]).sum(axis=1).astype(np.uint32).view(np.int32)
    assert (unpacked(words, bits) == numbers).all()
