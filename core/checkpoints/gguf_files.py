"""GGUF files of a finished packed folder, in the same job: the same integers, and everything else as it is there."""

from __future__ import annotations

from pathlib import Path

from core.checkpoints.decide import Decided
from core.formats.atomic_folder import AtomicFolder
from core.jobs import Override, Plan, QuantizeJob, QuantizeResult
from core.jobs.checkpoints import file_options
from core.pipeline import quantize
from core.plan import make_plan
from core.progress import Progress
from core.sources import open_source


def planned_file(decided: Decided, form: str) -> Plan:
    """The plan of the file that `form` names, from the model of the folder. Raises what make_plan raises."""
    names = dict.fromkeys(item.entry.gguf for item in decided.items if item.matrix is not None)
    with open_source(decided.plan.source) as source:
        known = {"overrides": tuple(Override(tensor=name, type=form) for name in names)}
        return make_plan(source, file_options(form, source.name).model_copy(update=known))


def write_file(job: QuantizeJob, folder: AtomicFolder, progress: Progress) -> QuantizeResult:
    """Makes a job's file while the folder that it is made from is not at its place yet. Raises what quantize raises."""
    places = {name: Path(getattr(job, name)).relative_to(folder.target) for name in ("source", "output")}
    now = {name: str(folder.path / place) for name, place in places.items()}
    made = quantize(job.model_copy(update=now), progress)
    return made.model_copy(update={name: str(folder.target / place) for name, place in places.items()})
