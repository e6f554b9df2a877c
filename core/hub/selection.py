"""Which files of a repository a quantization needs, and why the others are left where they are. Plain values only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from core.errors import NothingToDownload, SeveralModels

# Reasons for leaving files out, the first match wins: pattern of the whole name in lower case, reason.
SKIPPED: tuple[tuple[str, str], ...] = (
    (r"(.*/)?\.git[^/]*", "of the repository itself"),
    (r"original/.*|(.*/)?consolidated[^/]*\.(safetensors|pth|pt)", "the same weights in their first form"),
    (r"onnx/.*|.*\.onnx(_data)?", "weights for ONNX"),
    (r"(openvino|coreml|tflite)/.*|.*\.(tflite|mlmodel|mlpackage|xml)", "weights for another engine"),
    (r".*\.(h5|msgpack|ot)", "weights for another library"),
    (r"(.*/)?(optimizer|scheduler|rng_state|training_args|trainer_state)[^/]*", "of the training"),
    (r"runs/.*|(.*/)?events\.out\..*|checkpoint-\d+/.*", "of the training"),
    (
        r"[^/]*\.(fp16|fp32|bf16|int8|8bit|4bit)(-\d{5}-of-\d{5})?\.(safetensors|bin)",
        "a variant of the weights",
    ),
    (r".*\.(png|jpe?g|gif|svg|webp|mp4|pdf|ipynb)", "pictures and papers"),
    (r".*\.py", "code, which is never run"),
    (r"(.*/)?mmproj[^/]*\.gguf", "for pictures and sound, beside the model"),
    (r"(.*/)?[^/]*imatrix[^/]*\.(gguf|dat)", "an importance matrix, no model"),
)
_SKIPPED = tuple((re.compile(pattern), reason) for pattern, reason in SKIPPED)

_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_DESCRIBING = (".json", ".model", ".txt", ".jinja", ".tiktoken", ".md")
_NAMED = ("license", "licence", "notice", "use_policy")
_SPLIT = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


def select(repo: str, names: Sequence[str], include: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """The names to download, in their order, and the reason for each of the others.

    include: patterns (`*Q8_0*`, `*.json`) that choose instead of the rules. Raises NothingToDownload, and SeveralModels
    where a repository has several GGUF models of which one is to be chosen.
    """
    if include:
        wanted = [name for name in names if any(fnmatchcase(name, pattern) for pattern in include)]
        if not wanted:
            raise NothingToDownload(repo, f"no file of it matches {', '.join(include)}")
        return wanted, {name: "not asked for" for name in names if name not in set(wanted)}
    reasons = {name: reason_against(name, names) for name in names}
    wanted = [name for name in names if not reasons[name]]
    if not any(name.lower().endswith((".safetensors", ".gguf", *_PICKLED)) for name in wanted):
        raise NothingToDownload(repo, "it has no weights in .safetensors, .bin or .gguf")
    models = sorted({whole_name(name) for name in wanted if name.lower().endswith(".gguf")})
    if len(models) > 1:
        raise SeveralModels(repo, models)
    return wanted, {name: reason for name, reason in reasons.items() if reason}


def whole_name(name: str) -> str:
    """The name of a GGUF model, which of a split one's parts begins so."""
    return _SPLIT.sub("", name)


def reason_against(name: str, names: Sequence[str]) -> str:
    """Why a quantization does not need `name` out of all `names`, '' where it does."""
    lower, inner = name.lower(), PurePosixPath(name).parent != PurePosixPath(".")
    for pattern, reason in _SKIPPED:
        if pattern.fullmatch(lower):
            return reason
    has_tensors = any(other.endswith(".safetensors") and not reason_by_table(other) for other in _at_root(names))
    if lower.endswith(".gguf"):
        return "the same weights as GGUF" if has_tensors else ""
    if lower.endswith(_PICKLED):
        return "the same weights, pickled" if has_tensors else ("in a folder of its own" if inner else "")
    if inner and not lower.startswith("additional_chat_templates/"):
        return "in a folder of its own"
    known = (".safetensors", *_DESCRIBING)
    return "" if lower.endswith(known) or lower.startswith(_NAMED) else "not needed to quantize"


def is_descriptive(name: str) -> bool:
    """Whether a file at the root says something about a model beside its weights: settings, tokenizer, template."""
    return "/" not in name and name.lower().endswith(_DESCRIBING) and not reason_by_table(name)


def reason_by_table(name: str) -> str:
    """The reason of the table of patterns alone."""
    return next((reason for pattern, reason in _SKIPPED if pattern.fullmatch(name.lower())), "")


def _at_root(names: Sequence[str]) -> list[str]:
    return [name for name in names if "/" not in name]


def parts_beside(path: Path) -> tuple[Path, ...]:
    """A file and, where it is one part of a split GGUF model, the other parts beside it, in order."""
    if not _SPLIT.search(path.name):
        return (path,)
    whole = whole_name(path.name)
    return tuple(sorted(other for other in path.parent.glob("*.gguf") if whole_name(other.name) == whole))
