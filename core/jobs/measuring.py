"""What a job that takes a text through models needs and what stands in its way, asked before it starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.jobs.evaluation import EvaluateJob
from core.jobs.importance import ImatrixJob
from core.jobs.sensitivity import SensitivityJob
from core.values import Value


class MeasurePreflightJob(Value):
    """The preflight of an importance matrix, an evaluation or a ranking. Answer: PreflightResult.

    measure: times what was never timed on this machine (some seconds); else the time may stay unknown.
    """

    kind: Literal["measure_preflight"] = "measure_preflight"
    job: Annotated[ImatrixJob | EvaluateJob | SensitivityJob, Field(discriminator="kind")]
    measure: bool = False
