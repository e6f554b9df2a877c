"""The one door to the engine: runs a job by looking its function up in a table and importing it only then.

This module is light, so the window, the command line and the worker may all import it; the functions it names are
not. Every function has the form `function(job, progress) -> Result`.
"""

from __future__ import annotations

import importlib

from core.jobs import Job, Result
from core.progress import Progress

FUNCTIONS: dict[str, str] = {
    "inspect": "core.inspection:inspect",
    "scan": "core.inspection:scan",
    "tensor_stats": "core.distribution:tensor_stats",
    "plan": "core.plan:plan",
    "quantize": "core.pipeline:quantize",
    "quantize_many": "core.pipeline:quantize_many",
    "checkpoint_plan": "core.checkpoints.decide:plan",
    "checkpoint_preflight": "core.checkpoints.preflight:preflight",
    "checkpoint": "core.checkpoints.make:quantize",
    "checkpoint_many": "core.checkpoints.make:quantize_many",
    "estimate": "core.estimating:estimate",
    "preflight": "core.preflight:preflight",
    "measure_preflight": "core.measuring:preflight",
    "verify": "core.verify:verify",
    "compare": "core.compare:compare",
    "chat": "core.chat.once:chat",
    "imatrix": "core.importance:imatrix",
    "search": "core.hub.search:search",
    "download": "core.hub.download:download",
    "hub_page": "core.hub.page:page",
    "fit": "core.hub.fit:fit",
    "account": "core.hub.account:account",
    "hub_cache": "core.hub.stored:hub_cache",
    "trash": "core.hub.trash:trash",
    "upload": "core.hub.publish:upload",
    "evaluate": "core.evaluation.run:evaluate",
    "sensitivity": "core.evaluation.sensitivity:sensitivity",
}


def run(job: Job, progress: Progress | None = None) -> Result:
    """Runs `job` here, in this process. Raises a core.errors leaf, or Cancelled."""
    module_name, function_name = FUNCTIONS[job.kind].split(":")
    function = getattr(importlib.import_module(module_name), function_name)
    result: Result = function(job, progress or Progress())
    return result
