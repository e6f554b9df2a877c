"""What taking a text through a model comes to, counted by hand for one layer."""

from __future__ import annotations

from dataclasses import replace

from core.estimate.timing import Operation
from core.estimate.walking import FACTOR, MACS, SQUARES, WATCH, Matrix, Walk, evaluating, importance, ranking, solving

SETUP = "gptq gptq 4 64 1 - mse - groups"
LAYER = (
    Matrix("attn_q", 4, 4, "F16", setup=SETUP),
    Matrix("attn_k", 2, 4, "F16", setup=SETUP),
    Matrix("attn_output", 4, 4, "F16", setup=SETUP),
    Matrix("ffn_down", 4, 8, "F16", setup=SETUP),
)
WALK = Walk((LAYER, LAYER), 10, 5, 4, 4, 2, (100, 4), "F16")
WEIGHTS = 16 + 8 + 16 + 32
ATTENTION = 2 * 5 * 4


def test_an_importance_matrix_is_one_pass() -> None:
    amounts = importance(WALK)
    assert amounts[MACS] == 2 * 10 * (WEIGHTS + ATTENTION)
    assert amounts[SQUARES] == 2 * 10 * (4 + 4 + 4 + 8)
    assert amounts[Operation("decode", "F16")] == 2 * WEIGHTS


def test_the_solver_passes_as_far_as_each_stage() -> None:
    amounts = solving(WALK, prestep="", target=False, watched=True)
    passes = [0, 24 + ATTENTION, 40 + ATTENTION, WEIGHTS + ATTENTION]  # no third stage: nothing is solved there
    moments = 10 * (16 + 16 + 64)
    beside = solving(WALK, prestep="", target=True, watched=False)
    assert beside[MACS] == 2 * (2 * (10 * sum(passes) + moments) + 3 * (4 * 40 + 8 * 32))
    # What is kept of attention and feed-forward is not computed again: all passes together are one.
    assert amounts[MACS] == 2 * (10 * (WEIGHTS + ATTENTION) + moments)
    assert amounts[FACTOR] == 2 * (64 + 64 + 512)
    assert amounts[Operation("solve", SETUP)] == 2 * WEIGHTS
    assert amounts[Operation("solve_columns", SETUP)] == 2 * (4 * 40 + 8 * 32)
    assert amounts[WATCH] == 2 * 10 * (4 + 4 + 8)


def test_experts_are_met_by_few_and_solved_all() -> None:
    mixture = (Matrix("ffn_up_exps", 4, 4, "F16", copies=8, met=2, setup=SETUP),)
    amounts = solving(replace(WALK, layers=(mixture,)), prestep="", target=False, watched=True)
    assert amounts[FACTOR] == 8 * 64
    assert amounts[Operation("solve", SETUP)] == 8 * 16
    assert amounts[WATCH] == 0


def test_scales_that_are_folded_cost_a_pass_more_and_those_of_awq_a_search() -> None:
    plain, smooth, awq = (
        solving(WALK, prestep=name, target=False, watched=False)[MACS] for name in ("", "smoothquant", "awq")
    )
    assert smooth - plain == 2 * 10 * (WEIGHTS + ATTENTION)
    assert awq > smooth + 2 * 10 * (16 + 16 + 64)


def test_models_beside_their_original() -> None:
    amounts = evaluating([WALK, WALK, WALK])
    assert amounts[MACS] == 3 * (2 * 10 * (WEIGHTS + ATTENTION) + 5 * 100 * 4)


def test_pieces_begin_where_they_differ() -> None:
    one_layer = 10 * (WEIGHTS + ATTENTION)
    encoded = {Operation("encode", "Q4_0"): 7}
    first, last, output = (ranking(WALK, [birth], encoded) for birth in (0, 1, 2))
    assert first[MACS] - last[MACS] == last[MACS] - output[MACS] == one_layer
    assert output[Operation("encode", "Q4_0")] == 14
