"""Decides everything about a quantization before a byte is computed: each tensor's type and why, and the exact size.

`make_plan` is pure: an opened source and options in, a Plan out. The pipeline executes the plan without deciding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.catalog import ALIASES, MIX, Mix
from core.errors import AlreadyQuantized, IllegalType, TensorIsKept, UnknownTensor, UnknownType, UnsupportedType
from core.formats.gguf_writer import Layout, TensorSlot, layout
from core.jobs import Override, Plan, PlanJob, QuantizeOptions, TensorPlan
from core.policy import Choice, choose, describe, kept_reason
from core.progress import Progress
from core.rules import Model, Tensor
from core.sources import KeyValue, Source, SourceTensor, open_source
from kernels.blocks import FORMATS

QUANTIZATION_VERSION = 2
CHUNK_ELEMENTS = 1 << 22
# Python, numpy, numba and the compiled code, measured on Linux (about 150 MiB, 200 MiB where code is compiled anew).
BASE_BYTES = 180 << 20
# Per element of a chunk: its floats and those of its quantized copy; the bytes read and written exist twice, because
# one chunk is read ahead and one written behind.
FLOAT_BYTES = 8
COPIES = 2
MANY_FALLBACKS = 0.1


def plan(job: PlanJob, progress: Progress) -> Plan:
    """The plan of a quantization; a source that is quantized already gets a warning here, not an error.

    Raises what open_source and make_plan raise.
    """
    progress.stage("Planning")
    with open_source(job.source) as source:
        return make_plan(source, job.options)


def make_plan(source: Source, options: QuantizeOptions) -> Plan:
    """Every tensor's target type with its reason, the file's exact size, and the memory needed (an estimate).

    Raises UnknownType, UnknownTensor, IllegalType, TensorIsKept, UnsupportedType.
    """
    mix = find_mix(options.target)
    _require_readable(source)
    model = model_facts(source)
    overrides = _checked(options.overrides, source)
    described = describe([(t.name, t.shape, t.type) for t in source.tensors], model)
    rows = tuple(
        _row(tensor, _decide(described[tensor.name], mix, model, overrides, options.pure)) for tensor in source.tensors
    )
    parameters = sum(row.elements for row in rows)
    payload = sum(row.bytes for row in rows)
    sized = Plan(
        source=str(source.path),
        architecture=source.architecture,
        target=mix.name,
        tensors=rows,
        source_bytes=source.file_bytes,
        bytes=0,
        bits_per_weight=8 * payload / parameters if parameters else 0.0,
        memory_bytes=memory_estimate(rows),
    )
    whole = output_layout(source, sized).bytes
    sized = sized.model_copy(update={"bytes": whole})
    return sized.model_copy(update={"warnings": tuple(_warnings(source, sized, mix))})


def find_mix(name: str) -> Mix:
    """The mix or type a user named, in any case. Raises UnknownType."""
    found = MIX.get(ALIASES.get(name.upper(), name.upper()))
    if found is None:
        raise UnknownType(name, MIX)
    return found


def model_facts(source: Source) -> Model:
    """What the policy needs to know of an opened model."""
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
    )


def quantized_types(source: Source) -> list[str]:
    """The quantized types among a source's weight matrices; empty for an original."""
    matrices = [t for t in source.tensors if len(t.shape) > 1 and t.name.endswith("weight")]
    return sorted({t.type for t in matrices if t.type not in FORMATS or FORMATS[t.type].quantized})


def refuse_quantized(source: Source, options: QuantizeOptions) -> None:
    """Raises AlreadyQuantized for a quantized source that the user did not allow."""
    types = quantized_types(source)
    if types and not options.allow_requantize:
        raise AlreadyQuantized(str(source.path), types)


def output_metadata(source: Source, mix: Mix) -> tuple[KeyValue, ...]:
    """The source's metadata with the keys that say what the output is, in the same places where they were there."""
    said = {
        "general.file_type": KeyValue("general.file_type", "UINT32", mix.file_type),
        "general.quantization_version": KeyValue("general.quantization_version", "UINT32", QUANTIZATION_VERSION),
    }
    kept = tuple(said.pop(entry.key, entry) for entry in source.metadata)
    return (*kept, *said.values())


def output_layout(source: Source, made: Plan) -> Layout:
    """Where everything will be in the output file, and its exact size."""
    slots = [TensorSlot(row.name, row.shape, row.target_type) for row in made.tensors]
    return layout(output_metadata(source, MIX[made.target]), slots)


def memory_estimate(rows: Sequence[TensorPlan]) -> int:
    """Peak resident bytes of the quantization, estimated: the program itself and the largest chunk in flight."""
    return BASE_BYTES + max((_chunk_bytes(row) for row in rows), default=0)


def rows_per_chunk(row_length: int) -> int:
    """How many whole rows are processed at a time."""
    return max(1, CHUNK_ELEMENTS // row_length)


def _chunk_bytes(row: TensorPlan) -> int:
    row_length = row.shape[-1] if row.shape else 1
    elements = min(row.elements, rows_per_chunk(row_length) * row_length)
    return elements * FLOAT_BYTES + COPIES * elements * (row.source_bytes + row.bytes) // row.elements


def _require_readable(source: Source) -> None:
    for tensor in source.tensors:
        if not tensor.readable:
            raise UnsupportedType(str(source.path), tensor.name, tensor.type)


def _checked(overrides: Iterable[Override], source: Source) -> dict[str, str]:
    """The user's choices by tensor name, each known and legal."""
    tensors = {tensor.name: tensor for tensor in source.tensors}
    chosen = {}
    for override in overrides:
        tensor = tensors.get(override.tensor)
        if tensor is None:
            raise UnknownTensor(str(source.path), override.tensor, tensors)
        block_format = FORMATS.get(override.type.upper())
        if block_format is None:
            raise UnknownType(override.type, FORMATS)
        if not block_format.divides(tensor.row_length):
            raise IllegalType(tensor.name, block_format.name, tensor.row_length, block_format.elements)
        chosen[tensor.name] = block_format.name
    return chosen


def _decide(tensor: Tensor, mix: Mix, model: Model, overrides: dict[str, str], pure: bool) -> tuple[Choice, bool]:
    """The choice for one tensor, and whether it is the user's own."""
    usual = choose(mix, model, tensor, pure)
    wanted = overrides.get(tensor.name)
    if wanted is None:
        return usual, False
    if not usual.quantizable and wanted != usual.type:
        raise TensorIsKept(tensor.name, usual.type, kept_reason(tensor) or "")
    return Choice(wanted, "chosen by you"), True


def _row(tensor: SourceTensor, decision: tuple[Choice, bool]) -> TensorPlan:
    choice, overridden = decision
    same = choice.type == tensor.type
    n_bytes = tensor.rows * FORMATS[choice.type].row_bytes(tensor.row_length)
    return TensorPlan.model_validate(
        {
            "name": tensor.name,
            "shape": tensor.shape,
            "from": tensor.type,
            "to": choice.type,
            "elements": tensor.elements,
            "source_bytes": tensor.bytes,
            "bytes": n_bytes,
            "bpw": 8 * n_bytes / tensor.elements,
            "reason": f"{choice.reason}; kept as it is, copied byte for byte" if same else choice.reason,
            "fallback": choice.fallback,
            "overridden": overridden,
        }
    )


def _warnings(source: Source, made: Plan, mix: Mix) -> Iterable[str]:
    """What the user should know before starting, a sentence each."""
    yield from source.warnings
    types = quantized_types(source)
    if types:
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
