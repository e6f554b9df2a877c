"""The figures of llama-perplexity (llama.cpp, tools/perplexity) from what every scored token says, as array functions.

Names and formulas are that program's: `--kl-divergence` prints the same figures under the names given here. What
concerns probabilities (Δp, same top p) is in percent. Errors are one standard error of a mean over tokens.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]

KLD_PERCENTILES = {
    "max_kld": 100.0,
    "kld_99_9": 99.9,
    "kld_99": 99.0,
    "kld_95": 95.0,
    "kld_90": 90.0,
    "median_kld": 50.0,
    "kld_10": 10.0,
    "kld_5": 5.0,
    "kld_1": 1.0,
    "kld_0_1": 0.1,
    "min_kld": 0.0,
}
DP_PERCENTILES = {
    "max_dp": 100.0,
    "dp_99_9": 99.9,
    "dp_99": 99.0,
    "dp_95": 95.0,
    "dp_90": 90.0,
    "dp_75": 75.0,
    "median_dp": 50.0,
    "dp_25": 25.0,
    "dp_10": 10.0,
    "dp_5": 5.0,
    "dp_1": 1.0,
    "dp_0_1": 0.1,
    "min_dp": 0.0,
}
# With fewer tokens than this the program gives no uncertainty, that is 0.
FEWEST = 10


def window_error(values: Numbers) -> float:
    """One standard error of the mean of (windows, tokens), with windows, not tokens, as what was drawn by chance.

    Tokens of one text are alike, so an error over tokens is several times too small. A window is a cluster here and all
    are of one size: the error is that of the mean of w window means, s / sqrt(w) (Cochran: Sampling Techniques, 3rd
    edition, section 9.2), times what makes ± one error hold 68.27 % for few windows, Student's t with w - 1 degrees of
    freedom at one standard deviation by its first terms (Abramowitz, Stegun: 26.7.5), within 1.4 %. Of one window,
    which cannot tell: the error over its tokens.
    """
    count = len(values)
    if count < 2:
        return mean_and_uncertainty(values.ravel())[1]
    free = count - 1
    student = 1 + 1 / (2 * free) + 1 / (4 * free**2) + 1 / (16 * free**3)
    return student * float(values.mean(-1, dtype=np.float64).std(ddof=1)) / math.sqrt(count)


def mean_and_uncertainty(values: Numbers) -> tuple[float, float]:
    """Mean of (n,) and its standard error, 0 for up to FEWEST values."""
    mean = float(values.mean(dtype=np.float64))
    variance = float(np.square(values, dtype=np.float64).mean()) - mean * mean
    return mean, math.sqrt(variance / (len(values) - 1)) if variance > 0 and len(values) > FEWEST else 0.0


def covariance(a: Numbers, b: Numbers) -> float:
    """Covariance of the means of two (n,); 0 for fewer than FEWEST values."""
    if len(a) < FEWEST:
        return 0.0
    product = np.multiply(a, b, dtype=np.float64).mean()
    return float(product - a.mean(dtype=np.float64) * b.mean(dtype=np.float64)) / (len(a) - 1)


def perplexity_figures(nll: Numbers, nll_base: Numbers) -> dict[str, float]:
    """Perplexities of a model and its base, and how they differ, from -ln p of the tokens that came, (n,) each."""
    mean, error = mean_and_uncertainty(nll)
    mean_base, error_base = mean_and_uncertainty(nll_base)
    shared = covariance(nll, nll_base)
    ppl, ppl_base, ratio = math.exp(mean), math.exp(mean_base), math.exp(mean - mean_base)
    ratio_error = _root(error**2 + error_base**2 - 2 * shared)
    difference = (ppl * error) ** 2 + (ppl_base * error_base) ** 2 - 2 * ppl * ppl_base * shared
    return {
        "ppl": ppl,
        "ppl_error": ppl * error,
        "ppl_base": ppl_base,
        "ppl_base_error": ppl_base * error_base,
        "ppl_correlation": 100 * shared / (error * error_base) if error and error_base else 0.0,
        "ln_ratio": mean - mean_base,
        "ln_ratio_error": ratio_error,
        "ppl_ratio": ratio,
        "ppl_ratio_error": ratio * ratio_error,
        "ppl_difference": ppl - ppl_base,
        "ppl_difference_error": _root(difference),
    }


def divergence_figures(kld: Numbers) -> dict[str, float]:
    """Mean and percentiles of the Kullback-Leibler divergence KL(base || model) of every token, (n,), in nats."""
    mean, error = mean_and_uncertainty(kld)
    return {"mean_kld": mean, "mean_kld_error": error} | _percentiles(kld, KLD_PERCENTILES)


def probability_figures(nll: Numbers, nll_base: Numbers) -> dict[str, float]:
    """Δp = p - p_base of the tokens that came, in percent, from their -ln p, (n,) each."""
    change = 100 * (np.exp(-nll.astype(np.float64)) - np.exp(-nll_base.astype(np.float64)))
    mean, error = mean_and_uncertainty(change)
    square, square_error = mean_and_uncertainty(np.square(change))
    rms = math.sqrt(square)
    errors = {"mean_dp_error": error, "rms_dp_error": square_error / (2 * rms) if rms else 0.0}
    return {"mean_dp": mean, "rms_dp": rms} | errors | _percentiles(change, DP_PERCENTILES)


def agreement_figures(same_top: NDArray[np.bool_]) -> dict[str, float]:
    """How often both take the same token for the likeliest, in percent, from (n,) booleans."""
    share = float(same_top.mean())
    error = math.sqrt(share * (1 - share) / (len(same_top) - 1)) if len(same_top) > 1 else 0.0
    return {"same_top_p": 100 * share, "same_top_p_error": 100 * error}


def figures(nll: Numbers, nll_base: Numbers, kld: Numbers, same_top: NDArray[np.bool_]) -> dict[str, float]:
    """All figures of n > 0 tokens, from what each one says, (n,)."""
    return (
        perplexity_figures(nll, nll_base)
        | divergence_figures(kld)
        | probability_figures(nll, nll_base)
        | agreement_figures(same_top)
    )


def _percentiles(values: Numbers, table: dict[str, float]) -> dict[str, float]:
    found = np.percentile(values.astype(np.float64), list(table.values()))
    return dict(zip(table, found.tolist(), strict=True))


def _root(square: float) -> float:
    """Rounding makes a little less than nothing of nothing."""
    return math.sqrt(max(square, 0.0))
