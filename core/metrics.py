"""Error sums made into the figures people read: RMSE, relative RMSE, SNR, largest error, cosine."""

from __future__ import annotations

import math

from core.jobs import ErrorFigures, TensorPlan, TensorResult
from kernels.measure import ErrorSums


def figures(sums: ErrorSums) -> ErrorFigures:
    """The figures of one tensor, or of a whole model where the sums of its tensors were added.

    A source that is all zero has no relative error: it is 0 where the copy is zero too, else infinite, which JSON
    cannot say, so 1 (an error as large as the signal) stands for it.
    """
    rmse = math.sqrt(sums.squared_error / sums.n) if sums.n else 0.0
    if sums.squared_x > 0:
        relative = math.sqrt(sums.squared_error / sums.squared_x)
    else:
        relative = 1.0 if sums.squared_error > 0 else 0.0
    return ErrorFigures(
        rmse=rmse,
        relative_rmse=relative,
        snr_db=-20 * math.log10(relative) if relative > 0 else None,
        max_error=sums.max_error,
        cosine=_cosine(sums),
    )


def tensor_result(row: TensorPlan, sums: ErrorSums) -> TensorResult:
    """What became of a tensor, as it was planned, with what that cost."""
    return TensorResult.model_validate(
        {
            "name": row.name,
            "shape": row.shape,
            "from": row.source_type,
            "type": row.target_type,
            "elements": row.elements,
            "source_bytes": row.source_bytes,
            "bytes": row.bytes,
            "bpw_before": 8 * row.source_bytes / max(1, row.elements),
            "bpw": row.bpw,
            "reason": row.reason,
            "fallback": row.fallback,
            **figures(sums).model_dump(),
        }
    )


def _cosine(sums: ErrorSums) -> float | None:
    norms = math.sqrt(sums.squared_x) * math.sqrt(sums.squared_y)
    # Rounding in the sums may push the quotient past one by a few ulp.
    return max(-1.0, min(1.0, sums.product_xy / norms)) if norms > 0 else None
