"""Decides everything about a checkpoint before a weight is read: each tensor's form and why, and the exact sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.checkpoints.experts import WARNINGS, check_experts
from core.checkpoints.fold_rows import folded_norms
from core.checkpoints.layouts import LAYOUTS, Contents, Matrix, input_slots
from core.checkpoints.names import torn
from core.checkpoints.settings import Settings, check_together, settled
from core.checkpoints.source import CheckpointSource, Entry
from core.errors import IllegalMethod, ImatrixDoesNotFit, NothingToQuantize
from core.estimate.walking import Matrix as Met
from core.estimate.walking import kept_bytes
from core.formats.safetensors_reader import DTYPE_BYTES, INDEX_NAME
from core.formats.safetensors_writer import Slot, header_bytes
from core.imatrix import ImportanceMatrix, read_imatrix
from core.jobs import CheckpointPlanJob, MethodOptions, Plan, TensorPlan
from core.methods.calibration import BATCH_TOKENS
from core.methods.linear import Scheme
from core.methods.table import EXPORT, FORM, GGUF_FORM, METHOD, PACKED, TENSOR, group_word, label
from core.progress import Progress
from core.texts import shortened

FLOATS = ("F32", "F16", "BF16")
# What is held of the largest matrix at once: its numbers, their copy in groups, what they became, and codes.
BYTES_PER_WEIGHT = 20
# Of a tensor that is not quantized so many bytes are held, and as many of its numbers.
RUN_BYTES = 8 << 20
# Moments, what their factor is made from, and the factor.
MATRICES = 3
# transformers and llama.cpp's tokenizer, rows that are solved at a time in several forms, activations of a few windows.
NETWORK_BYTES = 400 << 20
BASE_BYTES = 450 << 20  # Python with numpy, numba and torch, measured on Linux
DEQUANTIZED = (
    "transformers loads packed zero points only with "
    "quantization_config=CompressedTensorsConfig(dequantize=True); vLLM loads them as they are."
)
# Seen with GPTQModel 7.7.
OF_GPTQMODEL = (
    "GPTQModel's own loader takes zero points in this form only from itself; "
    "through transformers it loads them, and symmetric integers either way."
)
UNFOLDED = "No scales are folded into experts: each is quantized from its own weights."
ONLY_VLLM = (
    "transformers loads packed zero points only where all layers have the same form; vLLM loads them as they are."
)
# Measured on the sample at 4 bits per channel: twice the KL divergence of the whole range.
ENTROPY = (
    "The entropy rule was made for activations: of weights it cuts off more than finer steps win; "
    "the search for the least squared error loses less."
)
FOLDED = "scales of the layers that it feeds are folded into it"
ROUTER = "ffn_gate_inp"
ROLES = (
    ("token_embd", "the embedding stays as it is"),
    ("output.", "the output layer stays as it is"),
    ("norm", "norms stay as they are"),
    (".bias", "biases stay as they are"),
    (ROUTER, "the router of experts stays as it is"),
)


@dataclass(frozen=True, slots=True)
class Item:
    """What becomes of one tensor: the tensors it is written as.

    matrix, settings: None where it is not quantized.
    """

    entry: Entry
    slots: tuple[Slot, ...]
    row: TensorPlan
    matrix: Matrix | None
    settings: Settings | None = None

    @property
    def has_integers(self) -> bool:
        """Whether it becomes linear integers."""
        return self.settings is not None and bool(METHOD[self.settings.choice.method].groups)

    @property
    def needs_text(self) -> bool:
        """Whether its method, or how its inputs are rounded, looks at activations."""
        return self.settings is not None and (
            METHOD[self.settings.choice.method].calibration or self.settings.is_static
        )


@dataclass(frozen=True, slots=True)
class Decided:
    """A plan with what carries it out. settings: with those of every rule in them.

    files: names of the output's files of weights, those of the source in order.
    kept: linear layers that are not quantized, lm_head among them.
    """

    plan: Plan
    settings: Settings
    items: tuple[Item, ...]
    files: tuple[str, ...]
    kept: tuple[str, ...]
    importance: ImportanceMatrix | None
    compute: str

    @property
    def is_calibrated(self) -> bool:
        """Whether activations are looked at, for some matrix or to fold scales."""
        return bool(self.settings.prestep) or any(item.needs_text for item in self.items)

    @property
    def experts(self) -> dict[str, int]:
        """The numbers of experts by the names of their matrices."""
        return {item.entry.name: item.entry.expert for item in self.items if item.entry.is_expert}

    def scheme_of(self, name: str) -> Scheme:
        """The linear integers of the matrix with this name."""
        item = next(item for item in self.items if item.entry.name == name)
        return (item.settings or self.settings).scheme(item.entry.stored.dtype)

    @property
    def contents(self) -> Contents:
        """What the configuration has to say of the layers."""
        chosen = {item.entry.module: item.settings.choice for item in self.items if item.settings is not None}
        is_biased = any(item.matrix.is_biased for item in self.items if item.matrix is not None)
        return Contents(self.settings, self.kept, chosen, self.compute, is_biased)

    def slots_of(self, file: int) -> list[Slot]:
        """Everything that one file will hold, in order."""
        return [slot for item in self.items if item.entry.file == file for slot in item.slots]


def plan(job: CheckpointPlanJob, progress: Progress) -> Plan:
    """The plan of a checkpoint. Raises what `decide` and CheckpointSource raise."""
    progress.stage("Planning")
    if job.options.export in GGUF_FORM:
        from core.checkpoints.gguf_files import planned_file  # the pipeline, which folders do without

        return planned_file(packed(job.source, job.options), job.options.export)
    settings = settled(job.options)
    with CheckpointSource(Path(job.source)) as source:
        return decide(source, settings).plan


def packed(path: str, options: MethodOptions) -> Decided:
    """What is decided of the folder that the GGUF file which `options` ask for is made from.

    Raises what `settled`, `decide` and CheckpointSource raise.
    """
    forms = (options.export, *options.beside)
    check_together(forms)
    own = next(form for form in forms if form in PACKED)
    beside = tuple(form for form in forms if form != own)
    with CheckpointSource(Path(path)) as source:
        return decide(source, settled(options.model_copy(update={"export": own, "beside": beside})))


def decide(source: CheckpointSource, settings: Settings) -> Decided:
    """What becomes of every tensor, exact sizes, and the memory needed (an estimate).

    Raises IllegalMethod, CannotRun (windows longer than the context), NothingToQuantize, ImatrixDoesNotFit, and what
    read_imatrix raises.
    """
    importance = read_imatrix(Path(settings.imatrix)) if settings.imatrix else None
    _check(source, settings)
    settings = settings.within(str(source.path), source.dimensions.positions)
    items = tuple(_item(source, entry, settings, importance) for entry in source.entries)
    quantized = [item for item in items if item.matrix is not None]
    if not quantized:
        is_chosen = bool(settings.skip or settings.rules)
        reason = "all its linear layers were left out" if is_chosen else "its layers are not plain linear layers"
        raise NothingToQuantize(str(source.path), reason)
    kept = ["lm_head", *(item.entry.module for item in items if _is_kept_linear(item))]
    files = file_names([path.name for path in source.files])
    rows = tuple(item.row for item in items)
    elements = sum(row.elements for row in rows)
    decided = Decided(
        Plan(
            source=str(source.path),
            architecture=source.architecture,
            target=f"{_target(settings, quantized)} ({settings.choice.export})",
            tensors=rows,
            source_bytes=source.file_bytes,
            bytes=0,
            bits_per_weight=8 * sum(row.bytes for row in rows) / elements,
            memory_bytes=BASE_BYTES + max(*(_held(item) for item in items), _calibration_bytes(source, settings)),
            warnings=(*unmatched(settings, source.entries), *_warnings(settings, quantized)),
        ),
        settings,
        items,
        files,
        tuple(kept),
        importance,
        source.dtype,
    )
    total = sum(
        len(header_bytes(decided.slots_of(file))) + sum(slot.bytes for slot in decided.slots_of(file))
        for file in range(len(files))
    )
    return replace(decided, plan=decided.plan.model_copy(update={"bytes": total}))


def _is_kept_linear(item: Item) -> bool:
    """Whether programs take it for a linear layer that is quantized unless they are told: routers of experts, too."""
    return item.matrix is None and (item.entry.is_linear or ROUTER in item.entry.gguf)


def _target(settings: Settings, quantized: Sequence[Item]) -> str:
    """What the layers become, that of most first."""
    words = {label(settings.choice): 0} | {item.row.target_type: 0 for item in quantized}
    used = {item.row.target_type for item in quantized}
    return " + ".join(word for word in words if word in used)


def _calibration_bytes(source: CheckpointSource, settings: Settings) -> int:
    """Of a method that looks at activations: two layers in float32, moments with their factor, hidden states, a batch.

    Of the two layers one is held, and beside it either the moments of experts, the copy that is the original, or what
    the work on a matrix takes.
    """
    if not settings.is_calibrated:
        return 0
    linear = [entry for entry in source.entries if entry.is_linear]
    layers = {entry.gguf.split(".")[1] for entry in linear}
    weights = sum(entry.stored.bytes // DTYPE_BYTES[entry.stored.dtype] for entry in linear)
    widest = max(entry.stored.shape[1] for entry in linear)
    width = next(entry.stored.shape[1] for entry in source.entries if entry.gguf == "token_embd.weight")
    states = settings.tokens * width * (2 if settings.calibration.target else 1)
    batch = min(settings.tokens, BATCH_TOKENS) * widest  # activations are as wide as a matrix
    held = 4 * (2 * weights // max(1, len(layers)) + MATRICES * widest**2 + states + batch)
    return held + _kept(linear, settings) + NETWORK_BYTES


def _kept(linear: Sequence[Entry], settings: Settings) -> int:
    """What is kept between two passes of the windows, where memory is free for it."""
    if settings.calibration.target or all(own.choice.method != "gptq" for own in settings.every):
        return 0
    ends = {
        Met(entry.gguf.split(".")[2], entry.stored.shape[0], entry.stored.shape[1], "", setup="gptq")
        for entry in linear
    }
    return sum(kept_bytes(ends, settings.tokens).values())


def _held(item: Item) -> int:
    return item.row.elements * BYTES_PER_WEIGHT if item.matrix is not None else 4 * RUN_BYTES


def file_names(sources: Sequence[str]) -> tuple[str, ...]:
    """The output's files of weights: called like the source's where those are numbered safetensors."""
    count = len(sources)
    if count == 1:
        return ("model.safetensors",)
    if all(name.endswith(".safetensors") for name in sources):
        return tuple(sources)
    return tuple(f"model-{number + 1:05}-of-{count:05}.safetensors" for number in range(count))


def index_of(decided: Decided) -> tuple[str, dict[str, object]] | None:
    """Name and contents of the file that says which tensor is where; None for a single file."""
    if len(decided.files) == 1:
        return None
    places = {slot.name: name for number, name in enumerate(decided.files) for slot in decided.slots_of(number)}
    total = sum(slot.bytes for item in decided.items for slot in item.slots)
    return INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}


def _check(source: CheckpointSource, settings: Settings) -> None:
    """Refuses a model or a group that the form cannot hold. Raises IllegalMethod."""
    export = EXPORT[settings.choice.export]
    check_experts(source, settings)
    layout = LAYOUTS[export.name]
    for entry in source.entries:
        own = settings.of(entry.name) if entry.is_linear else None
        problem = layout.problem(own, _matrix(source, entry)) if own is not None else ""
        if own is not None and problem:
            remedy = _way_out(source, settings, own)
            raise IllegalMethod(f"{entry.name} cannot be written as {export.name}", problem, remedy)


def _way_out(source: CheckpointSource, settings: Settings, own: Settings) -> str:
    """The nearest group that fits every matrix of the same choice, or that the matrices in the way be left out."""
    choice = own.choice
    legal = set(METHOD[choice.method].groups).intersection(*(FORM[form].groups for form in own.forms))
    usable = sorted((group for group in legal if group < choice.group), key=lambda group: -group)
    wanted = [_matrix(source, entry) for entry in source.entries if entry.is_linear and settings.of(entry.name) == own]
    for group in usable:
        other = replace(own, choice=replace(choice, group=group))
        if not any(LAYOUTS[form].problem(other, matrix) for form in own.folders for matrix in wanted):
            place = "" if choice == settings.choice else " in the rule that finds it"
            return f"Use --group {group_word(group)}" if not place else f"Use group={group_word(group)}{place}"
    return "Leave such layers in 16 bits with --skip, or choose another --export"


def _matrix(source: CheckpointSource, entry: Entry) -> Matrix:
    rows, columns = entry.stored.shape
    return Matrix(entry.module, entry.stored.dtype, (rows, columns), source.dtype, source.is_biased)


def _item(source: CheckpointSource, entry: Entry, settings: Settings, importance: ImportanceMatrix | None) -> Item:
    stored = entry.stored
    own = settings.of(entry.name) if entry.is_linear else None
    rule = settings.rule_of(entry.name) if entry.is_linear else ""
    if own is not None:
        matrix = _matrix(source, entry)
        slots = (*LAYOUTS[own.choice.export].slots(own, matrix), *input_slots(own, matrix))
        weighted = bool(own.imatrix) and _is_weighted(entry, importance)
        by_rule = ", by a rule" if own is not settings else ""
        reason = f"a linear layer{by_rule}{', with importance' if weighted else ''}"
        row = _row(entry, slots, label(own.choice), reason, weighted)
        return Item(entry, slots, row.model_copy(update={"rule": rule}), matrix, own)
    dtype = "BF16" if settings.choice.export == "bf16" and stored.dtype in FLOATS else stored.dtype
    slots = (Slot(stored.name, dtype, stored.shape),)
    row = _row(entry, slots, dtype, _kept_reason(source, entry, settings))
    return Item(entry, slots, row.model_copy(update={"rule": rule}), None)


def _is_weighted(entry: Entry, importance: ImportanceMatrix | None) -> bool:
    """Whether importance is known of a matrix. Raises ImatrixDoesNotFit where it was made for other shapes."""
    found = importance.entries.get(entry.gguf) if importance is not None else None
    if found is None or importance is None:
        return False
    columns = entry.stored.shape[-1]
    matrices, rest = divmod(found.values, columns)
    if rest or (entry.expert >= matrices if entry.is_expert else matrices != 1):
        wanted = f"{entry.gguf} needs {columns} numbers{' for each expert' if entry.is_expert else ''}"
        raise ImatrixDoesNotFit(str(importance.path), f"{wanted} and has {found.values} there")
    return True


def _kept_reason(source: CheckpointSource, entry: Entry, settings: Settings) -> str:
    if entry.is_linear:
        return "left out by the user"
    if settings.prestep and entry.gguf.split(".")[2:3] in [[name] for name in folded_norms(source.architecture)]:
        return FOLDED
    return next((words for part, words in ROLES if part in entry.gguf), "not a linear layer of a decoder layer")


def _row(entry: Entry, slots: Sequence[Slot], target: str, reason: str, weighted: bool = False) -> TensorPlan:
    stored = entry.stored
    elements = stored.bytes // DTYPE_BYTES[stored.dtype]
    n_bytes = sum(slot.bytes for slot in slots)
    return TensorPlan.model_validate(
        {
            "name": stored.name,
            "shape": stored.shape,
            "from": stored.dtype,
            "to": target,
            "elements": elements,
            "source_bytes": stored.bytes,
            "bytes": n_bytes,
            "bpw": 8 * n_bytes / max(1, elements),
            "reason": reason,
            "weighted": weighted,
        }
    )


def unmatched(settings: Settings, entries: Sequence[Entry]) -> Iterator[str]:
    """Of each expression that finds no layer: most likely it is misspelt."""
    names = [entry.name for entry in entries if entry.is_linear]
    for pattern in (*settings.skip, *(pattern for pattern, _ in settings.rules)):
        if not any(pattern.search(name) for name in names):
            yield f"The expression {pattern.pattern} finds no layer and changes nothing; a layer's name is {names[0]}."


def _warnings(settings: Settings, quantized: Sequence[Item]) -> tuple[str, ...]:
    """What the user should know of the choice."""
    choices = {item.entry.module: item.settings.choice for item in quantized if item.settings is not None}
    used, warnings = set(choices.values()), []
    if any(METHOD[choice.method].trained for choice in used):
        warnings.append(
            "A model that was not trained in this form will not survive it without fine-tuning; "
            "the result says how large the damage to its weights is."
        )
    if any(item.has_integers and item.settings and item.settings.ranges.rule == "entropy" for item in quantized):
        warnings.append(ENTROPY)
    # Seen with transformers 5.23 and compressed-tensors 0.20, reported as vllm-project/llm-compressor#1618.
    packed = [choice for choice in used if choice.export == "compressed-tensors" and not choice.symmetric]
    if any(choice.group != TENSOR for choice in packed):
        warnings.append(DEQUANTIZED if len({label(choice) for choice in used}) == 1 else ONLY_VLLM)
    apart = torn({name: replace(choice, method="") for name, choice in choices.items()})
    if apart and settings.choice.export in ("compressed-tensors", "gptq", "awq"):
        warnings.append(
            f"{apart} has another form than the layers that vLLM joins it with; "
            "vLLM asks for the same in query, key and value, and in gate and up."
        )
    if any(choice.export == "gptq" and not choice.symmetric for choice in used):
        warnings.append(OF_GPTQMODEL)
    if any(item.entry.is_expert for item in quantized):
        warnings += WARNINGS.get(settings.choice.export, ())
        if settings.prestep:
            warnings.append(UNFOLDED)
    if settings.is_calibrated:
        warnings += shortened(settings.length if settings.own_length else None, settings.length)
    return tuple(warnings)
