"""Steps of a preflight that every kind of output shares: the disk, memory, the architecture, the licence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from core import errors
from core.errors import BitwrightError, size
from core.estimate.architectures import KNOWN
from core.families.model_card import front_matter
from core.hub.address import endpoint
from core.hub.names import repo_in
from core.jobs import Check, Plan

# On which step of the ladder an error stands; what is not listed is one of choice.
STEP_OF: dict[type[BitwrightError], str] = {
    errors.SourceNotFound: "files",
    errors.NotAModel: "files",
    errors.TruncatedFile: "files",
    errors.InvalidHeader: "files",
    errors.MissingParts: "files",
    errors.ReadFailed: "files",
    errors.UnsupportedType: "architecture",
    errors.UnknownArchitecture: "architecture",
    errors.CannotConvert: "architecture",
    errors.DiskFull: "disk",
    errors.OutputNotWritable: "disk",
    errors.OutputIsSource: "disk",
    errors.IllegalType: "tensors",
    errors.TensorIsKept: "tensors",
    errors.FallbackRefused: "tensors",
    errors.NonFiniteWeights: "tensors",
    errors.VocabulariesDiffer: "tensors",
    errors.CannotRun: "architecture",
    errors.HubGated: "licence",
}
# How the fields of a card begin that ask for conditions to be accepted.
GATED = "extra_gated_"
# Free room left beside the output that nobody notices.
ROOM = 1 << 30
# Parts of licence names that restrict what a copy may be used or shared for.
RESTRICTED = ("nc", "noncommercial", "non-commercial", "research", "other", "proprietary", "llama", "gemma")
# Of these, those that allow no commercial use.
PERSONAL = ("nc", "noncommercial", "research")
OPEN = ("apache-2.0", "mit", "bsd", "cc-by-4.0", "cc0", "openrail", "cc-by-sa")


def check_of(error: BitwrightError) -> Check:
    """An error as a step that failed."""
    step = STEP_OF.get(type(error), "choice")
    cause = f"{error.what}: {error.why}" if error.why else error.what
    return Check.model_validate({"step": step, "level": "error", "cause": cause, "fix": error.remedy})


def architecture(named: str) -> Check:
    """Whether the name of an architecture is known here."""
    name = named or "none named"
    if named in KNOWN:
        return Check(step="architecture", level="fine", cause=f"The architecture {name} is known.")
    return Check(
        step="architecture",
        level="risk",
        cause=f"The architecture {name} is not known here: types are chosen by the names of its tensors alone.",
        fix="Look through the plan, and try the result in the program that is to run it",
    )


def folder_problem(output: str) -> Check | None:
    """Why nothing can be written beside `output`, or None."""
    folder = Path(os.path.abspath(output)).parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return None
    reason = f"{folder} is a folder that cannot be written to" if folder.is_dir() else f"{folder} is no folder"
    return check_of(errors.OutputNotWritable(output, reason))


def room(output: str, needed: int, outputs: int = 1) -> Check:
    """Whether `needed` bytes fit where the output goes, or several outputs together."""
    words = "The output takes" if outputs == 1 else f"The {outputs} outputs together take"
    free = shutil.disk_usage(Path(os.path.abspath(output)).parent).free
    if needed > free:
        return check_of(errors.DiskFull(output, needed, free))
    if free - needed < ROOM:
        return Check(
            step="disk",
            level="risk",
            cause=f"{words} {size(needed)}, which leaves only {size(free - needed)} free.",
            fix="Free some space, or choose a folder on another disk",
        )
    return Check(step="disk", level="fine", cause=f"{words} {size(needed)}; {size(free)} are free.")


def memory(made: Plan) -> Check:
    """Whether the memory that a plan needs is free."""
    return free_memory(made.memory_bytes)


def free_memory(needed: int) -> Check:
    """Whether so much memory is free."""
    free = int(psutil.virtual_memory().available)
    if needed <= free:
        return Check(step="memory", level="fine", cause=f"Needs about {size(needed)} of memory; {size(free)} are free.")
    return Check(
        step="memory",
        level="risk",
        cause=f"Needs about {size(needed)} of memory, and only {size(free)} are free.",
        fix="Close other programs or unload chat models first",
    )


def licences(path: Path, name: str) -> Iterator[Check]:
    """What the licence of a model on this computer asks for, and whether it is gated, as far as its card says.

    path: the folder or file. name: of the licence as the model itself has it, '' = none.
    """
    card = front_matter(path if path.is_dir() else path.parent)
    own = card.get("license", "")
    called = card.get("license_name", "") if own in ("", "other") else own
    yield licence(called or own or name, card.get("license_link", ""))
    if any(key.startswith(GATED) for key in card):
        yield gated(repo_in(str(path)))


def gated(repo: str) -> Check:
    """A model that is here, and whose conditions everybody accepts who downloads it. repo: '' = not known."""
    place = f"{endpoint()}/{repo}" if repo else "its page"
    return Check(
        step="licence",
        level="risk",
        cause="The model is gated: conditions are accepted to download it, and they hold for the result too.",
        fix=f"Read them at {place} before you share the result",
    )


def licence(name: str, link: str = "") -> Check:
    """What the licence of a model asks for; name: '' where it has none. link: where it can be read."""
    place = f" at {link}" if link.startswith("https://") else ""
    if not name:
        cause = "The model does not name its licence: look it up at its source before you share the result."
        return Check(step="licence", level="fine", cause=cause)
    if _is_restricted(name):
        return Check(
            step="licence",
            level="risk",
            cause=f"The licence {name} {_CONDITIONS[_is_personal(name)]}",
            fix=f"Read it{place} before you share the result",
        )
    return Check(step="licence", level="fine", cause=f"The licence is {name}.")


_CONDITIONS = {
    False: "sets conditions that hold for the result too.",
    True: "allows no commercial use, of the result neither.",
}


def _is_restricted(name: str) -> bool:
    if any(name.casefold().startswith(known) for known in OPEN):
        return False
    return any(part in RESTRICTED or part.rstrip("0123456789") in RESTRICTED for part in _words(name))


def _is_personal(name: str) -> bool:
    return any(part in PERSONAL for part in _words(name)) or "non-commercial" in name.casefold()


def _words(name: str) -> list[str]:
    return name.casefold().replace("_", "-").replace(".", "-").replace(" ", "-").split("-")
