"""Decides everything about a quantization before a byte is computed: each tensor's type and why, and the exact size.

`make_plan` is pure: an opened source and options in, a Plan out. The pipeline executes the plan without deciding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from core.catalog import ALIASES, COPY, TARGETS, Mix
from core.choices import deciding, wished, wishes
from core.errors import (
    AlreadyQuantized,
    CopyKeepsTypes,
    FallbackRefused,
    IllegalMethod,
    ImatrixDoesNotFit,
    UnknownType,
    UnsupportedType,
)
from core.estimate.walking import Matrix, kept_bytes
from core.formats.gguf_writer import TensorSlot
from core.hub.hollow import headers_at
from core.hub.names import REMOTE
from core.imatrix import ImportanceMatrix
from core.jobs import GptqOptions, Plan, PlanJob, QuantizeOptions, TensorPlan
from core.output_metadata import output_metadata
from core.parts import Part, by_size, divided, whole
from core.policy import Choice, choose, describe, kept_reason
from core.progress import Progress
from core.repacking import with_lattice
from core.rules import Model, Tensor
from core.sources import KeyValue, Source, SourceTensor
from core.sources.converter import open_or_convert
from core.sources.pruned import matrix_renumbered, without_layers
from core.texts import shortened, window_length
from core.weighting import expected_matrix, selected_matrix, weights_for
from kernels.block_levels import LEVELS
from kernels.blocks import FORMATS
from kernels.codecs import CODECS
from kernels.cpu.parallel import available_threads

OUTPUT = "output.weight"
SOLVED = re.compile(r"blk\.\d+\.(attn_(q|k|v|qkv|output)|ffn_(gate|up|down)(_exps|_shexp)?)\.weight")
# PyTorch, transformers and llama.cpp's tokenizer, rows that are solved at a time, activations of a few windows.
NETWORK_BYTES = 500 << 20
CHUNK_ELEMENTS = 1 << 20
# Python, numpy, numba and the compiled code, measured on Linux (about 150 MiB, 200 MiB where code is compiled anew).
BASE_BYTES = 180 << 20
# Per element of a chunk that is computed: its floats and those of its quantized copy.
FLOAT_BYTES = 8
MANY_FALLBACKS = 0.1
# The options that ask for other types, as the command line calls them.
CHOOSING: dict[str, str] = {
    "overrides": "--tensor-type",
    "output_tensor_type": "--output-tensor-type",
    "token_embedding_type": "--token-embedding-type",
    "pure": "--pure",
}


def plan(job: PlanJob, progress: Progress) -> Plan:
    """The plan of a quantization; a source that is quantized already gets a warning here, not an error.

    Of a model on the Hub (hub:OWNER/NAME[/FILE]) only headers are read: whether its weights could be repacked is not
    looked at. Raises what open_or_convert, without_layers and make_plan raise.
    """
    progress.stage("Planning")
    if job.source.startswith(REMOTE):
        return _plan_from_headers(job, progress)
    with open_or_convert(job.source, job.options.converter, Path(gettempdir()), progress) as whole:
        source = without_layers(whole, job.options.prune_layers)
        if not job.imatrix_to_come:
            return make_plan(source, job.options)
        matrix = expected_matrix(whole, job.options)
        options = job.options if matrix else job.options.model_copy(update={"imatrix": ""})
        return prepare(source, options, matrix).plan


def _plan_from_headers(job: PlanJob, progress: Progress) -> Plan:
    """The sizes of the plan asked for, with the tensors of one that looks at no weights, for these are not there."""
    unseen = job.options.model_copy(update={"fit": "reference"})
    with headers_at(job.source, progress) as path:
        made = plan(job.model_copy(update={"source": path}), progress)
        blind = plan(job.model_copy(update={"source": path, "options": unseen}), progress)
    return made.model_copy(update={"source": job.source, "tensors": blind.tensors, "warnings": blind.warnings})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan with what carries it out: the files, where everything will be in them, and the importance matrix."""

    plan: Plan
    parts: tuple[Part, ...]
    matrix: ImportanceMatrix | None


def make_plan(source: Source, options: QuantizeOptions) -> Plan:
    """Every tensor's target type with its reason, the file's exact size, and the memory needed (an estimate).

    Raises what `prepare` raises.
    """
    return prepare(source, options).plan


def prepare(source: Source, options: QuantizeOptions, matrix: ImportanceMatrix | None = None) -> Prepared:
    """Decides everything about one output. matrix: takes the place of the one that the options name.

    source: already without the layers that are to be dropped; the matrix is that of the whole model.
    Raises UnknownType, UnknownTensor, InvalidPattern, IllegalType, TensorIsKept, UnsupportedType, FallbackRefused,
    InvalidMetadata, CopyKeepsTypes, CannotRun (windows longer than the context); with an importance matrix what
    read_imatrix raises, and ImatrixNeeded, NotInImatrix, ImatrixDoesNotFit.
    """
    mix = find_mix(options.target)
    if mix is COPY:
        _refuse_types(options)
    matrix = None if mix is COPY else matrix or selected_matrix(options)
    metadata = output_metadata(source, mix, options, matrix)
    matrix = matrix and matrix_renumbered(matrix, options.prune_layers)
    rows = _decide(source, mix, options, matrix)
    if options.gptq is not None:
        rows = _with_solved(mix, rows)
    parameters = sum(row.elements for row in rows)
    files = _files(source, rows, metadata, options)
    made = Plan(
        source=str(source.path),
        architecture=source.architecture,
        target=mix.name,
        tensors=rows,
        source_bytes=source.file_bytes,
        bytes=sum(part.layout.bytes for part in files),
        bits_per_weight=8 * sum(row.bytes for row in rows) / parameters if parameters else 0.0,
        memory_bytes=memory_estimate(rows) + (0 if options.gptq is None else _walk_bytes(source, rows, options.gptq)),
        fit=options.fit,
    )
    warnings = tuple(_warnings(source, made, mix, options, matrix))
    return Prepared(made.model_copy(update={"warnings": warnings}), files, matrix)


def is_solved(row: TensorPlan) -> bool:
    """Whether GPTQ solves a tensor: a layer's matrix that gets a type of evenly spaced levels and is not repacked."""
    changes = row.target_type in LEVELS and row.target_type != row.source_type and not row.repacked
    return changes and SOLVED.fullmatch(row.name) is not None


def _with_solved(mix: Mix, rows: tuple[TensorPlan, ...]) -> tuple[TensorPlan, ...]:
    """Rows that say what is solved. Raises IllegalMethod where nothing is."""
    if not any(map(is_solved, rows)):
        why = "GPTQ makes types of evenly spaced levels, from weights that do not lie on them already"
        raise IllegalMethod(f"GPTQ has nothing to do for {mix.name}", why, f"Use --to with one of {', '.join(LEVELS)}")
    return tuple(
        row.model_copy(update={"reason": f"{row.reason}; solved by GPTQ"}) if is_solved(row) else row for row in rows
    )


def _walk_bytes(source: Source, rows: Sequence[TensorPlan], options: GptqOptions) -> int:
    """What the walk through the layers takes: two in float32, the largest moments three times, hidden states."""
    hyper = source.hyper
    matrices = [row for row in rows if SOLVED.fullmatch(row.name)]
    widest = max(row.shape[-1] for row in matrices)
    tokens = options.samples * window_length(str(source.path), options.length, hyper.context_length)
    states = tokens * (hyper.embedding_length or widest) * (2 if options.target else 1)
    layer = sum(row.elements for row in matrices) // max(1, hyper.layers or 1)
    ends = {
        Matrix(row.name.split(".")[2], row.shape[-2], row.shape[-1], "", setup="gptq")
        for row in matrices
        if is_solved(row)
    }
    kept = 0 if options.target else sum(kept_bytes(ends, tokens).values())
    return 4 * (2 * layer + 3 * widest**2 + states) + kept + NETWORK_BYTES


def _files(
    source: Source, rows: Sequence[TensorPlan], metadata: tuple[KeyValue, ...], options: QuantizeOptions
) -> tuple[Part, ...]:
    slots = [TensorSlot(row.name, row.shape, row.target_type) for row in rows]
    if options.split_max_bytes:
        return divided(slots, metadata, by_size(slots, metadata, options.split_max_bytes))
    if options.keep_split:
        return divided(slots, metadata, [source.part_of(tensor) for tensor in source.tensors])
    return whole(slots, metadata)


def find_mix(name: str) -> Mix:
    """The mix or type a user named, or COPY, in any case. Raises UnknownType."""
    found = TARGETS.get(ALIASES.get(name.upper(), name.upper()))
    if found is None:
        raise UnknownType(name, TARGETS)
    return found


def _refuse_types(options: QuantizeOptions) -> None:
    """Raises CopyKeepsTypes where options for types are set."""
    asked = next((name for name in CHOOSING if getattr(options, name)), None)
    if asked is not None:
        raise CopyKeepsTypes(CHOOSING[asked])


def model_facts(source: Source, importance: bool = False) -> Model:
    """What the policy needs to know of an opened model. importance: an importance matrix is used."""
    names = {tensor.name for tensor in source.tensors}
    hyper = source.hyper
    return Model(
        architecture=source.architecture,
        layers=hyper.layers or 0,
        heads=hyper.heads or 0,
        kv_heads=hyper.kv_heads or 0,
        experts=hyper.experts or 0,
        tied="output.weight" not in names,
        converted=source.format != "gguf",
        importance=importance,
    )


def quantized_types(source: Source) -> list[str]:
    """The quantized types among a source's weight matrices; empty for an original."""
    matrices = [t for t in source.tensors if len(t.shape) > 1 and t.name.endswith("weight")]
    return sorted({t.type for t in matrices if t.type not in FORMATS or FORMATS[t.type].quantized})


def refuse_quantized(source: Source, made: Plan, options: QuantizeOptions) -> None:
    """Raises AlreadyQuantized where a quantized tensor would be quantized again and the user did not allow it."""
    types = {row.source_type for row in made.tensors if row.target_type != row.source_type}
    again = types.intersection(quantized_types(source))
    if again and not options.allow_requantize:
        raise AlreadyQuantized(str(source.path), sorted(again))


def memory_estimate(rows: Sequence[TensorPlan]) -> int:
    """Peak resident bytes of the quantization on all cores, estimated: the program itself and the chunks in flight."""
    return BASE_BYTES + max((_chunks_bytes(row, available_threads()) for row in rows), default=0)


def chunks_in_flight(workers: int) -> int:
    """How many chunks are read, computed or waiting to be written: each worker's own, and as many ready for it."""
    return 2 * workers + 2


def rows_per_chunk(row_length: int) -> int:
    """How many whole rows are processed at a time."""
    return max(1, CHUNK_ELEMENTS // row_length)


def _chunks_bytes(row: TensorPlan, workers: int) -> int:
    """All chunks in flight hold bytes read or written, those being computed floats too."""
    row_length = row.shape[-1] if row.shape else 1
    elements = min(row.elements, rows_per_chunk(row_length) * row_length)
    stored = elements * (row.source_bytes + row.bytes) // row.elements
    return workers * elements * FLOAT_BYTES + chunks_in_flight(workers) * stored


def _decide(
    source: Source, mix: Mix, options: QuantizeOptions, matrix: ImportanceMatrix | None
) -> tuple[TensorPlan, ...]:
    """All rows of the plan, in the source's order."""
    model = model_facts(source, importance=matrix is not None)
    described = describe([(t.name, t.shape, t.type) for t in source.tensors], model)
    found = wishes(options, described, str(source.path))
    rows = []
    for tensor in source.tensors:
        known = described[tensor.name]
        usual = _usual(known, mix, model, options)
        if options.keep_unquantized and kept_reason(known) is None and _is_plain(tensor):
            usual = Choice(tensor.type, "the source has not quantized it")
        own = wished(known, usual, found, kept_reason(known))
        choice = own or usual
        if not tensor.readable and choice.type != tensor.type:
            raise UnsupportedType(str(source.path), tensor.name, tensor.type)
        weights = choice.type != tensor.type and weights_for(known, mix, (choice.type, options.fit), matrix)
        row = _row(tensor, choice, overridden=own is not None, weighted=weights)
        wish = deciding(known, found) if own else None
        row = row.model_copy(update={"rule": wish.rule}) if wish and wish.rule else row
        rows.append(with_lattice(row, source, tensor, options.fit))
    if matrix is not None and not matrix.entries.keys() & described.keys():
        raise ImatrixDoesNotFit(str(matrix.path), f"none of its {len(matrix.entries)} entries is a tensor of it")
    if options.strict and (fallen := [row for row in rows if row.fallback]):
        raise FallbackRefused(fallen[0].name, fallen[0].reason, len(fallen))
    return tuple(rows)


def _is_plain(tensor: SourceTensor) -> bool:
    """Whether the source has plain numbers for a tensor."""
    return not tensor.packed and tensor.type in FORMATS and not FORMATS[tensor.type].quantized


def _usual(tensor: Tensor, mix: Mix, model: Model, options: QuantizeOptions) -> Choice:
    """What a tensor gets without a choice for it in particular."""
    if options.leave_output_tensor and tensor.name == OUTPUT:
        return Choice(tensor.type, "the output layer was to be left as it is")
    return choose(mix, model, tensor, options.pure)


def _row(tensor: SourceTensor, choice: Choice, *, overridden: bool, weighted: bool) -> TensorPlan:
    same = choice.type == tensor.type
    n_bytes = tensor.bytes if same else tensor.rows * FORMATS[choice.type].row_bytes(tensor.row_length)
    kept = "dequantized" if tensor.packed else "kept as it is, copied byte for byte"
    return TensorPlan.model_validate(
        {
            "name": tensor.name,
            "shape": tensor.shape,
            "from": tensor.stored_type,
            "to": choice.type,
            "elements": tensor.elements,
            "source_bytes": tensor.stored_bytes,
            "bytes": n_bytes,
            "bpw": 8 * n_bytes / tensor.elements,
            "reason": f"{choice.reason}; {kept}" if same else choice.reason,
            "fallback": choice.fallback,
            "overridden": overridden,
            "weighted": weighted,
        }
    )


def _warnings(
    source: Source, made: Plan, mix: Mix, options: QuantizeOptions, matrix: ImportanceMatrix | None
) -> Iterable[str]:
    """What the user should know before starting, a sentence each."""
    yield from source.warnings
    if options.gptq is not None:
        wanted, context = options.gptq.length, source.hyper.context_length
        yield from shortened(wanted, window_length(str(source.path), wanted, context))
    if options.leave_output_tensor and all(row.name != OUTPUT for row in made.tensors):
        yield "The model has no output layer of its own to leave as it is: it uses the token embedding."
    if matrix is not None:
        yield from _uncovered(made, matrix)
    if source.quantization and mix is not COPY:
        yield (
            f"The source is already quantized ({source.quantization}): its weights are dequantized first, and "
            "quantizing them again adds to the loss: start from a 16-bit original where there is one."
        )
    types = quantized_types(source)
    if types and mix is not COPY:
        yield (
            f"The source is already quantized ({', '.join(types)}), and quantizing again adds to the loss: "
            "start from an F16 or BF16 original where there is one."
        )
    fallbacks = sum(row.fallback for row in made.tensors)
    matrices = sum(len(row.shape) > 1 for row in made.tensors)
    if matrices and fallbacks / matrices > MANY_FALLBACKS:
        yield (
            f"{fallbacks} of {matrices} weight matrices do not fit the type that {mix.name} wants for them and get a "
            f"larger one: the file takes {made.bits_per_weight:.2f} bits per weight, where {mix.name} usually takes "
            f"about {mix.bits:.2f}."
        )
    if made.bytes > made.source_bytes:
        yield "The output will be larger than the source."


def _uncovered(made: Plan, matrix: ImportanceMatrix) -> Iterable[str]:
    could = [
        row
        for row in made.tensors
        if row.target_type != row.source_type and CODECS[row.target_type].at(made.fit).importance != "ignored"
    ]
    missing = [row.name for row in could if not row.weighted]
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        yield f"{matrix.path.name} says nothing of {len(missing)} of {len(could)} tensors: {shown}"
