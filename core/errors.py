"""Every failure a user can meet: one root, leaves built from data, each saying what happened, why, and what to do.

This module is light. Cancellation is not an error: `Cancelled` is its own class and is never reported as a failure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

BAD_INPUT = 2
JOB_FAILED = 1
INTERRUPTED = 130
OWN_PACKAGES = ("app", "core", "kernels")


class Cancelled(Exception):
    """The user asked to stop; raised by `Progress`, passed through everything, reported as cancelled."""


class BitwrightError(Exception):
    """Root of all failures that are explained to the user; anything else that escapes is a bug.

    what: what happened, a sentence without its full stop. why: the cause, or "". remedy: what to do next.
    """

    exit_code = JOB_FAILED

    def __init__(self, what: str, why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return self.line

    @property
    def line(self) -> str:
        """The whole message on one line, as the command line prints it: 'what: why. What to do.'."""
        head = f"{self.what}: {self.why}" if self.why else self.what
        parts = (part.rstrip(".") for part in (head, self.remedy) if part)
        return " ".join(part if part.endswith("?") else f"{part}." for part in parts).replace("\n", " ")


class BadInput(BitwrightError):
    """What was asked for cannot be done with what was given; nothing was started."""

    exit_code = BAD_INPUT


def size(n_bytes: float) -> str:
    """A byte count in words, binary units, one decimal: 1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n_bytes) < 1024:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'Did you mean X?' where something known is close to `name`, else ''."""
    by_folded = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f"Did you mean {by_folded[close[0]]}?" if close else ""


class SourceNotFound(BadInput):
    """The model's path does not exist."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} does not exist", remedy="Check the path, or add the folder on the Models page")


class NotAModel(BadInput):
    """The path exists but is not a model that can be read."""

    def __init__(self, path: str, problem: str, remedy: str = "") -> None:
        super().__init__(
            f"{path} is not a model Bitwright can read",
            problem,
            remedy or "Choose a .gguf file, or a folder with config.json and .safetensors files",
        )


class TruncatedFile(BadInput):
    """The file ends before the data its header announces."""

    def __init__(self, path: str, expected_bytes: int, actual_bytes: int) -> None:
        super().__init__(
            f"{path} is incomplete",
            f"its header needs {size(expected_bytes)} and the file has {size(actual_bytes)}",
            "Download or copy it again",
        )


class InvalidHeader(BadInput):
    """The header claims something impossible; refused before anything is allocated."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} has a damaged header", problem, "Download it again, or take it from another source")


class MissingParts(BadInput):
    """A model split over several files lacks some of them."""

    def __init__(self, path: str, missing: Iterable[str]) -> None:
        names = list(missing)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        super().__init__(
            f"{path} is incomplete",
            f"these of its parts are missing: {', '.join(names[:5])}{more}",
            "Put all parts into one folder, under their original names",
        )


class UnsupportedType(BadInput):
    """A tensor is stored in a type that this version cannot read."""

    def __init__(self, path: str, tensor: str, type_name: str) -> None:
        super().__init__(
            f"{path} cannot be read",
            f"tensor {tensor} has the type {type_name}, which this version does not know",
            "Use a file in F32, F16, BF16 or another type listed by `python main.py quantize --help`",
        )


BY_LLAMA_CPP = (
    "Let llama.cpp's convert_hf_to_gguf.py convert it: give the folder of a llama.cpp checkout as --converter, "
    "or in the settings"
)


class UnknownArchitecture(BadInput):
    """No family row exists for this architecture."""

    def __init__(self, path: str, architecture: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{path} has the architecture {architecture}, which cannot be converted yet",
            f"known architectures are {', '.join(sorted(known))}",
            BY_LLAMA_CPP,
        )


class UnknownQuantization(BadInput):
    """The weights of a folder are quantized in a way that no row knows."""

    def __init__(self, path: str, method: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{path} is quantized with {method}, which cannot be read",
            f"what can be read is {', '.join(known)}",
            "Take the original in 16 bits, have transformers dequantize this one (model.dequantize(), then "
            f"save_pretrained) and convert that folder, or: {BY_LLAMA_CPP}",
        )


class CannotConvert(BadInput):
    """The architecture is known, but this model of it has something that the conversion does not cover."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"{path} cannot be converted",
            problem,
            BY_LLAMA_CPP,
        )


class CannotRun(BadInput):
    """The model can be read, but not computed with here, which importance matrices and evaluations need."""

    def __init__(self, path: str, problem: str, remedy: str = "") -> None:
        super().__init__(
            f"{path} cannot be run layer by layer",
            problem,
            remedy or "Use llama.cpp's own programs (llama-imatrix, llama-perplexity) for this model",
        )


class NotAConverter(BadInput):
    """What was given as llama.cpp's converter is none."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is no llama.cpp checkout",
            "there is no convert_hf_to_gguf.py",
            "Give the folder that `git clone` of llama.cpp made, or the script itself",
        )


class ConversionFailed(BitwrightError):
    """llama.cpp's converter did not make a file."""

    def __init__(self, path: str, script: str, reason: str, python: str) -> None:
        super().__init__(
            f"{script} could not convert {path}",
            reason,
            f"Check that this version knows the model, and that {python} has its requirements.txt installed",
        )


class UnknownType(BadInput):
    """The quantization type asked for does not exist."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = list(known)
        super().__init__(
            f"There is no quantization type {name}",
            remedy=did_you_mean(name, names) or f"Choose one of {', '.join(names)}",
        )


class UnknownTensor(BadInput):
    """An override or a question names a tensor that the model does not have."""

    def __init__(self, path: str, tensor: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{path} has no tensor {tensor}",
            remedy=did_you_mean(tensor, known) or "`python main.py inspect` lists the tensors",
        )


class IllegalType(BadInput):
    """A per-tensor choice that the tensor's shape cannot hold."""

    def __init__(self, tensor: str, type_name: str, row_length: int, block: int) -> None:
        super().__init__(
            f"{tensor} cannot be stored as {type_name}",
            f"its rows have {row_length} elements and {type_name} needs a multiple of {block}",
            "Choose a type with blocks of 32, such as Q8_0 or Q5_0",
        )


class TensorIsKept(BadInput):
    """A per-tensor choice for a tensor that is never quantized."""

    def __init__(self, tensor: str, type_name: str, reason: str) -> None:
        super().__init__(
            f"{tensor} always stays in {type_name}", reason, "Leave it out, or choose another tensor; `plan` lists them"
        )


class InvalidPattern(BadInput):
    """A per-tensor choice whose pattern is no regular expression."""

    def __init__(self, pattern: str, problem: str) -> None:
        super().__init__(
            f"{pattern} is neither the name of a tensor nor a regular expression",
            problem,
            "Write the name of a tensor, or an expression such as ffn_down or layers.0.*q_proj",
        )


class FallbackRefused(BadInput):
    """Some tensors cannot have the type wanted for them, and no other was to be taken."""

    def __init__(self, tensor: str, reason: str, count: int) -> None:
        others = f" (and {count - 1} more tensors like it)" if count > 1 else ""
        super().__init__(
            f"{tensor} cannot have the type wanted for it{others}",
            reason,
            "Leave out --strict, or choose a type with blocks of 32, such as Q8_0, Q5_0 or IQ4_NL",
        )


class NoSuchLayer(BadInput):
    """A layer that is to be dropped is not there."""

    def __init__(self, path: str, layer: int, layers: int) -> None:
        known = f"its layers are 0 to {layers - 1}" if layers else "it does not say how many layers it has"
        super().__init__(
            f"{path} has no layer {layer}", known, "Name layers that `python main.py inspect` lists as blk.NUMBER"
        )


class NoLayersLeft(BadInput):
    """All layers are to be dropped."""

    def __init__(self, path: str, layers: int) -> None:
        super().__init__(f"{path} would have no layers left", f"all {layers} are to be dropped", "Leave some of them")


class CopyKeepsTypes(BadInput):
    """Another type is asked for where everything is only copied."""

    def __init__(self, asked: str) -> None:
        super().__init__(
            f"COPY leaves every tensor in its type, and {asked} asks for another",
            remedy="Choose a type such as Q8_0 in place of COPY, or leave the option out",
        )


class InvalidMetadata(BadInput):
    """A metadata entry asked for cannot be written."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(
            f"The metadata {key} cannot be set",
            problem,
            "Write it as KEY=TYPE:VALUE with the type int, float, bool or str",
        )


class TextTooShort(BadInput):
    """A text does not give a single window of tokens."""

    def __init__(self, text: str, tokens: int, context: int) -> None:
        super().__init__(
            f"{text} is too short",
            f"it has {tokens} tokens, and one window takes {context}",
            "Use a longer text, or shorter windows (--context, of calibration --length)",
        )


class NotAnImatrix(BadInput):
    """The path exists but holds no importance matrix that can be read."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"{path} is not an importance matrix Bitwright can read",
            problem,
            "Choose a file made by llama.cpp's llama-imatrix, in its GGUF or its older .dat form",
        )


class ImatrixNeeded(BadInput):
    """A type was wanted that makes no sense without an importance matrix."""

    def __init__(self, tensor: str, type_name: str) -> None:
        super().__init__(
            f"{type_name} for {tensor} needs an importance matrix",
            "without one the result would be unusable",
            "Choose one made by llama.cpp's llama-imatrix (--imatrix FILE), or choose another type",
        )


class NotInImatrix(BadInput):
    """The importance matrix says nothing of a tensor whose type needs it."""

    def __init__(self, path: str, tensor: str, type_name: str) -> None:
        super().__init__(
            f"{path} has no entry for {tensor}",
            f"{type_name} cannot be made without one",
            f"Give this tensor another type with --tensor-type {tensor}=Q4_K, or use another importance matrix",
        )


class ImatrixDoesNotFit(BadInput):
    """The importance matrix was made for another model."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"{path} does not fit this model",
            problem,
            "Use an importance matrix made from this model, or leave the tensor out with --exclude-weights",
        )


class CheckpointNeedsFolder(BadInput):
    """A checkpoint was to be made from something that is not a Hugging Face folder."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} cannot be made into a checkpoint",
            "checkpoints are made from a folder with config.json and weights, whose names and tokenizer they keep",
            "Choose the model's Hugging Face folder, or make a GGUF file with --to",
        )


class IllegalMethod(BadInput):
    """Method, bits, groups and form of a checkpoint do not go together; why and remedy say what would."""


class NothingToQuantize(BadInput):
    """A model has no linear layer that the method could be used for."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} has nothing to quantize", reason, "Leave out --skip, or choose another model")


class ShapesDiffer(BadInput):
    """Two models hold a tensor of the same name in different shapes, so they cannot be compared."""

    def __init__(self, tensor: str, shape: tuple[int, ...], other_shape: tuple[int, ...]) -> None:
        super().__init__(
            "The two models cannot be compared",
            f"{tensor} is {' × '.join(map(str, shape))} in one and {' × '.join(map(str, other_shape))} in the other",
            "Compare two files of the same model",
        )


class NothingToCompare(BadInput):
    """Two models have no tensor name in common."""

    def __init__(self, path: str, other: str) -> None:
        super().__init__(
            f"{path} and {other} cannot be compared",
            "they have no tensor of the same name",
            "Compare two files of the same model",
        )


class VocabulariesDiffer(BadInput):
    """The same number means different tokens to two models, so their predictions cannot be compared."""

    def __init__(self, path: str, other: str, problem: str) -> None:
        super().__init__(
            f"{path} and {other} cannot be compared",
            f"their vocabularies differ: {problem}",
            "Evaluate models that were made from this original",
        )


class NothingToMeasure(BadInput):
    """A quantization would change no weight matrix, so no piece is more sensitive than another."""

    def __init__(self, path: str, target: str) -> None:
        super().__init__(
            f"There is nothing to measure in {path}",
            f"{target} leaves every weight matrix of it as it is",
            "Choose a type with fewer bits, or start from the 16-bit original",
        )


class UnknownRecipe(BadInput):
    """There is no recipe of this name, or no such file."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = list(known)
        super().__init__(
            f"There is no recipe {name}",
            remedy=did_you_mean(name, names) or f"Choose one of {', '.join(names)}, or give the path of a TOML file",
        )


class InvalidRecipe(BadInput):
    """A file is no recipe, or one of its keys says something impossible. key: '' where it is the whole file."""

    def __init__(self, path: str, key: str, problem: str, allowed: str) -> None:
        super().__init__(f"The recipe {path} cannot be used", f"{key}: {problem}" if key else problem, allowed)


class RecipeNeedsImatrix(BadInput):
    """A recipe is made for an importance matrix and none was given."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The recipe {name} needs an importance matrix",
            "without one its types would lose too much",
            "Give one (--imatrix FILE), compute one with `imatrix`, or choose another recipe",
        )


class ImatrixNotComputed(BitwrightError):
    """A quantization waited for an importance matrix, and the job that computes it did not finish."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"The importance matrix {path} was not computed",
            "the job that computes it did not finish",
            "See that job for the reason, retry it, and then this one",
        )


class AlreadyQuantized(BadInput):
    """The source is quantized and the user did not allow quantizing it again."""

    def __init__(self, path: str, types: Iterable[str]) -> None:
        super().__init__(
            f"{path} is already quantized",
            f"its tensors are stored as {', '.join(types)}, and quantizing again adds to the loss",
            "Start from the F16 or BF16 original, or allow quantizing it again (--allow-requantize)",
        )


class OutputNotWritable(BadInput):
    """The output's folder is missing, read-only or not a folder."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be written", reason, "Choose another output folder")


class OutputInUse(BadInput):
    """Another job writes the same output at this moment."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} cannot be written", "another job is writing it", "Wait for it, or cancel it")


class CannotResume(BadInput):
    """What an interrupted job left does not fit the job that is to go on with it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"The interrupted job for {path} cannot be continued",
            reason,
            "Undo that change, or begin anew: leave out --resume",
        )


class OutputIsSource(BadInput):
    """The output would overwrite its own source."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is both source and output", remedy="Choose another name for the output")


class DiskFull(BitwrightError):
    """There is not, or no longer, enough room for the output."""

    def __init__(self, path: str, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"There is not enough room for {path}",
            f"it needs {size(needed_bytes)} and {size(free_bytes)} are free",
            "Free some space or choose another output folder, then retry",
        )


class ReadFailed(BitwrightError):
    """The source could not be read any further (I/O error, permission, vanished)."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} could not be read", reason, "Check the disk and the permissions, then retry")


class NonFiniteWeights(BitwrightError):
    """A source tensor holds NaN or infinity, which no quantized type can store."""

    def __init__(self, path: str, tensor: str) -> None:
        super().__init__(
            f"Tensor {tensor} of {path} holds NaN or infinite values",
            "no quantized type can store them",
            "The source is damaged or was exported wrongly: download or convert it again",
        )


class NonFiniteActivations(BitwrightError):
    """The model computes NaN or infinity, of which nothing can be measured."""

    def __init__(self, path: str, tensor: str) -> None:
        super().__init__(
            f"{path} computes NaN or infinite values",
            f"they first meet the weights {tensor}",
            "The model is damaged or was exported wrongly: download or convert it again",
        )


class ValuesTooLarge(BitwrightError):
    """A tensor's values are beyond what the target type can store (F16 and 16-bit scales end at 65504)."""

    def __init__(self, path: str, tensor: str, type_name: str) -> None:
        super().__init__(
            f"Tensor {tensor} of {path} cannot be stored as {type_name}",
            "some of its values are too large for that type",
            f"Choose BF16, or keep this tensor with --tensor-type {tensor}=BF16",
        )


class LibraryMissing(BitwrightError):
    """A library the job needs is not installed, or cannot be loaded."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The library {name} cannot be loaded", reason, "Install the program again with `make run` and retry"
        )


class VerificationFailed(BitwrightError):
    """A file on disk does not hold what it should."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"{path} failed its verification", problem, "The disk or memory may be faulty: retry, and check the disk"
        )


class DeviceNotAvailable(BadInput):
    """The compute device asked for is not on this machine."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(f"The device {device} is not available", reason, "Use --device cpu")


class OutOfMemory(BitwrightError):
    """The machine could not give the memory the job needed."""

    def __init__(self, needed_bytes: int | None = None, remedy: str = "") -> None:
        super().__init__(
            "There was not enough memory",
            f"the job needs about {size(needed_bytes)}" if needed_bytes else "",
            remedy or "Close other programs, unload chat models, or lower the number of threads, then retry",
        )


class WorkerDied(BitwrightError):
    """The worker process ended without a result."""

    def __init__(self, how: str, log_path: str = "") -> None:
        super().__init__(
            "The job's process ended unexpectedly",
            how,
            f"Retry the job; the log says more{f': {log_path}' if log_path else ''}",
        )


class HubOffline(BitwrightError):
    """The Hub cannot be reached, or must not be. here: a model asked for of which something is on this computer."""

    def __init__(self, endpoint: str, reason: str, here: str = "") -> None:
        super().__init__(
            f"{endpoint} cannot be reached",
            reason,
            f"What was downloaded of {here} before can be used by that id without it"
            if here
            else "Check the connection, then retry; models that are on this computer work without it",
        )


class HubBusy(BitwrightError):
    """The Hub went on refusing or failing after all retries."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint} does not answer as it should", reason, "Wait some minutes, then retry")


class HubAnswerInvalid(BitwrightError):
    """The Hub answered something that makes no sense, so nothing was done with it."""

    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(
            f"The answer of {endpoint} cannot be used",
            problem,
            "Check HF_ENDPOINT and whether the network asks for a login, then retry",
        )


class HubGated(BadInput):
    """A model's owners ask that conditions are accepted first. token: whether one was sent."""

    def __init__(self, repo: str, page: str, token: str) -> None:
        super().__init__(
            f"{repo} is gated",
            "the account of your token has not been given access" if token else "no token was sent",
            f"Open {page}, log in and accept the conditions"
            + (", then retry" if token else "; then enter a token of that account in Settings, or with `token --save`"),
        )


class HubTokenRefused(BadInput):
    """The Hub does not accept the token: expired, revoked or mistyped. place: where it is from, in words."""

    def __init__(self, endpoint: str, place: str) -> None:
        super().__init__(
            f"{endpoint} refused your token",
            f"the one from {place} is expired, revoked or mistyped",
            f"Make a new one in {endpoint}/settings/tokens and put it in the place of the old one",
        )


class HubReadOnly(BadInput):
    """The token may not write to a repository."""

    def __init__(self, repo: str, endpoint: str) -> None:
        super().__init__(
            f"{repo} may not be written with your token",
            "its account has no right to, or the token may only read",
            f"Make a token that may write in {endpoint}/settings/tokens, or publish under your own name",
        )


class TokenMissing(BadInput):
    """Something was asked for that the Hub does for nobody unknown."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            "There is no token to publish with",
            f"{endpoint} has to know whose repository it is",
            "Enter one in Settings, or with `token --save`; HF_TOKEN and `hf auth login` serve as well",
        )


class NotAToken(BadInput):
    """What was entered cannot be a token; it is not repeated here."""

    def __init__(self) -> None:
        super().__init__("This is no token", "a token is one word of letters and digits, hf_…", "Copy it once more")


class KeyringMissing(BitwrightError):
    """The system has no keyring in which a token could be kept."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The system's keyring cannot be used",
            reason,
            "Start a keyring (GNOME Keyring, KWallet), or put the token into HF_TOKEN, or run `hf auth login`",
        )


class NothingToUpload(BadInput):
    """A path holds nothing that could be published."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"There is nothing to publish in {path}", reason, "Choose a model file or folder")


class UploadFailed(BitwrightError):
    """The Hub did not take a file or the commit; what it has taken is kept there."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{name} could not be published",
            reason,
            "Check the connection; the same command goes on where this one stopped",
        )


class NotTrashed(BitwrightError):
    """Something could not be moved to the trash; it is where it was."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} could not be moved to the trash", reason, "It is where it was; delete it in the file manager"
        )


class InUse(BadInput):
    """Something is to be deleted that a job or a program needs now."""

    def __init__(self, path: str, names: Iterable[str]) -> None:
        super().__init__(f"{path} is in use", ", ".join(names), "End that first, then delete it")


class HubNotFound(BadInput):
    """There is no such model, revision or file, or it is private."""

    def __init__(self, thing: str, endpoint: str) -> None:
        super().__init__(
            f"{thing} is not on {endpoint}",
            "it does not exist, or is private",
            "Check the spelling (`search` finds models); for a private model, enter a token with access (Settings, or "
            "`token --save`)",
        )


class DatasetNotFound(BadInput):
    """There is no such dataset, or it is private."""

    def __init__(self, repo: str, endpoint: str) -> None:
        super().__init__(
            f"There is no dataset {repo} on {endpoint}",
            "it does not exist, or is private",
            f"Check the spelling on {endpoint}/datasets; for a private one, enter a token with access (Settings, or "
            "`token --save`)",
        )


class DatasetUnusable(BadInput):
    """A dataset, or a text that was to name one, of which no text can be read."""

    def __init__(self, dataset: str, problem: str, remedy: str = "") -> None:
        super().__init__(
            f"{dataset} gives no text to read",
            problem,
            remedy
            or "Choose a dataset with a `text` or a conversation (`messages`, `conversations`) in each row, or "
            "give a file of your own",
        )


class NoSuchPage(BadInput):
    """A page of a search was asked for that no search gave."""

    def __init__(self) -> None:
        super().__init__("There is no such page", "it is not one that a search named", "Search from the first page")


class NotAHubId(BadInput):
    """A text that was to name a model on the Hub does not have that form."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text} is no model's id", "an id is OWNER/NAME", "Find it with `search`")


class NothingToDownload(BadInput):
    """Nothing of a repository was chosen, or it holds nothing of use."""

    def __init__(self, repo: str, reason: str) -> None:
        super().__init__(f"There is nothing to download of {repo}", reason, "Choose files with --include PATTERN")


class SeveralModels(BadInput):
    """A repository holds several GGUF models, and which one is meant is not clear."""

    def __init__(self, repo: str, names: Iterable[str]) -> None:
        files = list(names)
        more = f" and {len(files) - 12} more" if len(files) > 12 else ""
        super().__init__(
            f"{repo} has {len(files)} models",
            f"{', '.join(files[:12])}{more}",
            f"Choose one: `download` takes --include '{files[0]}', other commands {repo}/{files[0]}",
        )


class UnsafeFileName(BadInput):
    """A repository names a file as no file of a repository may be called; nothing was written."""

    def __init__(self, repo: str, name: str, problem: str) -> None:
        shown = name if len(name) <= 80 else f"{name[:77]}…"
        super().__init__(
            f"{repo} has a file that is not safe to download, {shown!r}",
            problem,
            "Leave it out with --include, and tell the owners of the repository",
        )


class UnsafeCache(BadInput):
    """A link inside the Hub's cache leads out of it."""

    def __init__(self, path: str, target: str) -> None:
        super().__init__(
            f"{path} leads out of the cache of models",
            f"it is a link to {target}",
            "Remove that link, then retry",
        )


class DownloadBroken(BitwrightError):
    """The connection kept breaking without a byte in between; what has arrived is kept."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The download of {name} does not go on",
            reason,
            "Check the connection; the same command goes on where this one stopped",
        )


class DownloadCorrupt(BitwrightError):
    """A downloaded file twice had other content than its hash says; it was thrown away."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} arrived damaged",
            "its content does not have the hash that the Hub gives for it, twice in a row",
            "Retry later; if a proxy or mirror (HF_ENDPOINT) stands between, try without it",
        )


class ChangedOnHub(BitwrightError):
    """A file on the Hub became another one while it was downloaded, again and again."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} keeps changing on the Hub", "its parts do not belong together", "Retry later")


class HubUnreadable(BitwrightError):
    """The Hub kept failing while the header of a file was read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The header of {name} cannot be read from the Hub", reason, "Check the connection, then retry"
        )


class NotDownloaded(BadInput):
    """A model's id was given as source and the cache of this computer does not hold it. file: "" = all of it."""

    def __init__(self, repo: str, file: str = "") -> None:
        super().__init__(
            f"{f'{repo}/{file}' if file else repo} is not on this computer",
            "there is no such path, and it is not among the downloaded models",
            f"Download it first: main.py download {repo}"
            + (f" --include '{file}'" if file else "")
            + ", or give --download",
        )


class ChatUnavailable(BitwrightError):
    """llama.cpp could not load the model, or the conversation could not go on."""

    def __init__(self, path: str, reason: str, remedy: str = "") -> None:
        super().__init__(
            f"{path} could not be used for chat", reason, remedy or "Try a shorter context, or another model"
        )


class ChatNeedsGguf(BadInput):
    """The model exists, in a form that llama.cpp does not load."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} cannot be chatted with as it is",
            "chat needs a .gguf file",
            "Quantize it first (F16 keeps every weight in 16 bits), then chat with the result",
        )


class ContextOverflow(BadInput):
    """One message alone is longer than the context."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            "The message does not fit the context",
            f"it takes {tokens} tokens with its system prompt, and the context holds {context}",
            "Shorten it, or choose a longer context",
        )


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An error as plain values, for the pipe, the store and the window."""

    kind: str
    what: str
    why: str = ""
    remedy: str = ""
    details: str = ""

    @classmethod
    def of(cls, error: BaseException, details: str = "") -> ErrorReport:
        """The report of any exception; what is not a BitwrightError is called a bug and keeps its traceback."""
        if isinstance(error, BitwrightError):
            return cls(type(error).__name__, error.what, error.why, error.remedy, details)
        # torch's own class is not a MemoryError, and this module imports no torch to name it.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return cls.of(OutOfMemory(), details)
        if isinstance(error, ImportError) and not (error.name or "").startswith(OWN_PACKAGES):
            return cls.of(LibraryMissing((error.name or "needed").partition(".")[0], str(error)), details)
        return cls(
            "Bug",
            "Something went wrong inside Bitwright",
            f"{type(error).__name__}: {error}",
            "Retry; if it happens again, report it with the details below",
            details,
        )
