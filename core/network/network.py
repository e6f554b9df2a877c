"""A model as a torch network of which one decoder layer at a time has its weights in memory.

The computation is transformers' own, on modules that are built without weights. A layer's arguments beside the hidden
states (masks, rotary embeddings) are learnt by running the model's body once with stand-ins for its layers, so that
every family's own plumbing is used and none is repeated here.

    with open_source(path) as source, open_network(source) as network:
        hidden = network.embed(ids)                     # (windows, length) -> (windows, length, width)
        for number in range(network.layers):
            with network.layer(number) as layer:        # weights loaded here, freed at the end
                hidden = layer(hidden)
        for first, logits in network.logit_tiles(hidden):   # tiles of the vocabulary
            ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.cuda import require_cuda
from core.errors import CannotRun
from core.memory import share_heap
from core.network.config import config_values
from core.network.rounding import Rounding, input_hook, rounded
from core.network.rows import ROWS, NetworkRow, row_of
from core.network.tokenizer import Tokenizer
from core.network.weights import Place, empty, fill, places, prepare, values
from core.sources import Source, SourceTensor

VOCABULARY_TILE = 8192
# Rows of the embedding that lie no farther apart than this are read together.
NEAR_ROWS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A weight matrix of a layer under its GGUF name, or those of all experts.

    modules: the nn.Linear (or router) it is in, one for each expert, each with `weight` (rows, columns); their forward
    hooks see what meets the columns. row_order: which row of `weight` is each row of the GGUF tensor, None where all
    are in the same order.
    """

    tensor: SourceTensor
    modules: tuple[nn.Module, ...]
    row_order: NDArray[np.int64] | None = None

    @property
    def columns(self) -> int:
        """Length of a row."""
        return self.tensor.row_length


class Layer:
    """A decoder layer with its weights. linears: its weight matrices by their GGUF names.

    owners: of each tensor that is one parameter its module and its name there, by the GGUF name.
    """

    def __init__(
        self,
        module: nn.Module,
        linears: Mapping[str, Linear],
        owners: Mapping[str, tuple[nn.Module, str]],
        network: Network,
        number: int,
    ) -> None:
        self.module = module
        self.linears = linears
        self.owners = owners
        self.number = number
        self._network = network

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """(windows, length, width) -> the same shape; every window is a text of its own from position 0."""
        return self.through(self.module, hidden)

    def through(self, module: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """The same through another module in its place, such as a copy of it."""
        args, kwargs = self._network.arguments(hidden.shape[1])[self.number]
        out = module(hidden, *args, **kwargs)
        return cast("torch.Tensor", out[0] if isinstance(out, tuple) else out)


class Network:
    """See the module's text. Use it as a context manager; the source stays the caller's.

    row: its family. width: length of hidden states. vocabulary: number of tokens. roundings: how what meets a matrix
    is rounded, by its tensor's name. Raises CannotRun where transformers cannot compute this model as it is, and what
    the source's `metadata` and `read` raise.
    """

    def __init__(
        self, source: Source, row: NetworkRow, device: torch.device, roundings: Mapping[str, Rounding]
    ) -> None:
        self.source = source
        self.roundings = roundings
        self.row = row
        self.device = device
        self._config = _config_of(row, source)
        model = _model_of(row, self._config, source)
        self._body: Any = getattr(model, row.body)
        self._layers: list[nn.Module] = list(getattr(self._body, row.layers))
        self.layers = len(self._layers)
        self._heads = {"heads": self._config.num_attention_heads, "kv_heads": self._kv_heads}
        self._embedding = source.tensor("token_embd.weight")
        self.vocabulary, self.width = self._embedding.shape
        self._norm: nn.Module = getattr(self._body, row.norm)
        self._load_ends()
        self._arguments: dict[int, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}

    @property
    def _kv_heads(self) -> int:
        return int(getattr(self._config, "num_key_value_heads", None) or self._config.num_attention_heads)

    # ---- what goes in

    def embed(self, ids: NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Token numbers (windows, length) -> hidden states before the first layer (windows, length, width)."""
        numbers = np.asarray(ids)
        wanted, places_in = np.unique(numbers, return_inverse=True)
        rows = np.concatenate([self._embedding_rows(run) for run in _runs(wanted)])
        found = torch.from_numpy(rows[places_in.reshape(numbers.shape)]).to(self.device)
        recorded = self._dry_run(found * self._embedding_scale)
        return recorded.hidden

    def _embedding_rows(self, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        first = int(wanted[0])
        read = self.source.read(self._embedding, first, int(wanted[-1]) - first + 1)
        return read[wanted - first]

    @cached_property
    def _embedding_scale(self) -> float:
        """Gemma's embedding module multiplies by itself."""
        return float(getattr(getattr(self._body, self.row.embedding), "scalar_embed_scale", 1.0))

    def arguments(self, length: int) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What each layer is called with beside the hidden states, for windows of `length` tokens."""
        if length not in self._arguments:
            probe = torch.zeros(1, length, self.width, device=self.device)
            self._arguments = {length: self._dry_run(probe).arguments}
        return self._arguments[length]

    def _dry_run(self, embedded: torch.Tensor) -> _Recorded:
        """Runs the body with stand-ins for the embedding, the layers and the norm."""
        recorded = _Recorded()
        stand_ins = {
            self.row.embedding: _Given(embedded),
            self.row.layers: nn.ModuleList([_Recorder(recorded) for _ in range(self.layers)]),
            self.row.norm: nn.Identity(),
        }
        kept = {name: getattr(self._body, name) for name in stand_ins}
        try:
            for name, module in stand_ins.items():
                setattr(self._body, name, module)
            with torch.no_grad():
                ids = torch.zeros(embedded.shape[:2], dtype=torch.long, device=self.device)
                self._body(input_ids=ids, use_cache=False)
        finally:
            for name, module in kept.items():
                setattr(self._body, name, module)
        return recorded

    # ---- the layers

    @contextmanager
    def layer(self, number: int) -> Iterator[Layer]:
        """Layer `number` with its weights, which are freed at the end. Raises CannotRun and what reading raises."""
        found = places(self.row, self.source, number, self._heads)
        module = self._layers[number]
        if not getattr(module, "is_prepared", False):
            with torch.device("meta"):
                prepare(module)
            module.is_prepared = True  # type: ignore[assignment]
        fill(module, self.source, found, self.device)
        linears = {place.tensor.name: linear for place, linear in _linears(module, found)}
        hooks = [
            part.register_forward_pre_hook(input_hook(rounding))
            for name, rounding in self.roundings.items()
            for part in (linears[name].modules if name in linears else ())
        ]
        try:
            yield Layer(module, linears, _owners(module, found), self, number)
        finally:
            for hook in hooks:
                hook.remove()
            empty(module)

    # ---- what comes out

    @property
    def head(self) -> SourceTensor:
        """The output layer's weights; the token embedding's where the model has none of its own."""
        own = [tensor for tensor in self.source.tensors if tensor.name == "output.weight"]
        return own[0] if own else self._embedding

    def norm(self, hidden: torch.Tensor) -> torch.Tensor:
        """What meets the output layer: the last norm of (…, width)."""
        with torch.no_grad():
            return cast("torch.Tensor", self._norm(hidden))

    def logit_tiles(self, hidden: torch.Tensor, rows: int = VOCABULARY_TILE) -> Iterator[tuple[int, torch.Tensor]]:
        """(first token, logits (…, tokens)) for so many tokens at a time, from what the last layer gave.

        A tile holds good until the next is taken, which lies in the same memory.
        """
        head = self.head
        normed = self.norm(hidden)
        if head.name in self.roundings:
            normed = rounded(normed, self.roundings[head.name])
        flat = normed.reshape(-1, normed.shape[-1])
        room = flat.new_empty((len(flat), min(rows, self.vocabulary)))
        for first in range(0, self.vocabulary, rows):
            tile = room[:, : min(rows, self.vocabulary - first)]
            weight = torch.from_numpy(_own(self.source.read(head, first, tile.shape[1]))).to(self.device)
            torch.mm(flat, weight.T, out=tile)
            del weight
            self._shape(tile)
            yield first, tile.reshape(*normed.shape[:-1], -1)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """All logits, (…, vocabulary)."""
        return torch.cat([tile.clone() for _, tile in self.logit_tiles(hidden)], dim=-1)

    def _shape(self, logits: torch.Tensor) -> None:
        """Granite divides its logits, Gemma bends them; in place."""
        scaling = float(getattr(self._config, "logits_scaling", None) or 1.0)
        cap = getattr(self._config, "final_logit_softcapping", None)
        if scaling != 1.0:
            logits.div_(scaling)
        if cap:
            logits.div_(cap).tanh_().mul_(cap)

    # ---- the rest

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer and chat template; closed with the network."""
        return Tokenizer(self.source)

    def reading(self, source: Source) -> Network:
        """The same network with weights read from another source of the same tensors; it needs no closing.

        Both share their modules: no layer of one may be in memory while one of the other is.
        """
        other = copy(self)
        other.source = source
        return other

    def close(self) -> None:
        """Ends the tokenizer."""
        if "tokenizer" in self.__dict__:
            self.tokenizer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load_ends(self) -> None:
        """The small modules that stay: last norm, learnt positions, and the rotary embedding's frequencies."""
        tensors = {tensor.name: tensor for tensor in self.source.tensors}
        rules = {rule.target: rule for rule in self.row.family.tensors if not rule.per_layer}
        resident: list[tuple[nn.Module, str]] = [
            (self._norm, name) for name in ("output_norm.weight", "output_norm.bias") if name in tensors
        ]
        if self.row.positions:
            resident.append((getattr(self._body, self.row.positions), "position_embd.weight"))
        for module, name in resident:
            place = Place(self.source.tensor(name), "", rules[name].shift, None)
            numbers = values(self.source, place).to(self.device)
            module.register_parameter(name.rpartition(".")[2], nn.Parameter(numbers, requires_grad=False))
        if hasattr(self._body, "rotary_emb"):
            self._body.rotary_emb = type(self._body.rotary_emb)(self._config)
            if "rope_freqs.weight" in tensors:
                factors = self.source.read(tensors["rope_freqs.weight"]).reshape(-1)
                self._body.rotary_emb.inv_freq /= torch.from_numpy(_own(factors))
            self._body.rotary_emb.to(self.device)


def open_network(source: Source, device: str = "cpu", roundings: Mapping[str, Rounding] | None = None) -> Network:
    """The network of an open source, on `cpu` or `cuda`. Raises CannotRun, DeviceNotAvailable.

    roundings: how what meets its matrices is rounded, None: as the source itself says.
    """
    share_heap()
    if device == "cuda":
        require_cuda()
    experts = source.hyper.experts
    row = row_of(source.architecture, bool(experts), {entry.key for entry in source.metadata})
    if row is None:
        known = ", ".join(sorted({row.family.name for row in ROWS}))
        raise CannotRun(str(source.path), f"its architecture {source.architecture!r} is not one of {known}")
    return Network(source, row, torch.device(device), source.input_roundings if roundings is None else roundings)


def check_context(source: Source, context: int) -> None:
    """Raises CannotRun for windows longer than what the model was trained for."""
    trained = source.hyper.context_length
    if trained and context > trained:
        problem = f"windows of {context} tokens are longer than its context of {trained}"
        raise CannotRun(str(source.path), problem, f"Use --context {trained}")


# ---------------------------------------------------------------- pieces


class _Recorded:
    """What a dry run learns: the hidden states before the first layer, and every layer's arguments."""

    def __init__(self) -> None:
        self.arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.hidden = torch.empty(0)


class _Recorder(nn.Module):
    """Stands in for a layer: keeps how it is called and hands the hidden states on."""

    def __init__(self, recorded: _Recorded) -> None:
        super().__init__()
        self._recorded = recorded

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not self._recorded.arguments:
            self._recorded.hidden = hidden
        self._recorded.arguments.append((args, kwargs))
        return hidden


class _Given(nn.Module):
    """Stands in for the embedding: gives what was looked up already."""

    def __init__(self, embedded: torch.Tensor) -> None:
        super().__init__()
        self._embedded = embedded

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self._embedded


def _config_of(row: NetworkRow, source: Source) -> Any:
    from transformers import AutoConfig

    entries = config_values(row, source)
    try:
        return AutoConfig.for_model(row.model_type, **entries)
    except Exception as error:  # transformers checks values with errors of many kinds
        raise CannotRun(str(source.path), f"transformers refuses its configuration: {error}") from error


def _model_of(row: NetworkRow, config: Any, source: Source) -> Any:
    """The model of transformers without weights."""
    from transformers import AutoModelForCausalLM, initialization

    try:
        with torch.device("meta"), initialization.no_init_weights():
            make: Any = AutoModelForCausalLM.from_config
            model = make(config, attn_implementation=row.attention, dtype=torch.float32)
    except Exception as error:  # sizes that contradict each other end in errors of many kinds
        raise CannotRun(str(source.path), f"transformers cannot build it: {error}") from error
    return model.eval()


def _linears(module: nn.Module, found: tuple[Place, ...]) -> Iterator[tuple[Place, Linear]]:
    """The matrices among a layer's tensors."""
    for place in found:
        if len(place.tensor.shape) >= 2 and place.path.endswith(".weight"):
            modules = tuple(module.get_submodule(path.rpartition(".")[0]) for path in place.paths)
            yield place, Linear(place.tensor, modules, place.row_order)


def _owners(module: nn.Module, found: tuple[Place, ...]) -> dict[str, tuple[nn.Module, str]]:
    """Where each tensor is that is one parameter."""
    paths = {place.tensor.name: place.path.rpartition(".") for place in found if len(place.paths) == 1}
    return {tensor: (module.get_submodule(owner), name) for tensor, (owner, _, name) in paths.items()}


def _runs(numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Ascending numbers cut where the distance is large."""
    return np.split(numbers, np.flatnonzero(np.diff(numbers) > NEAR_ROWS) + 1)


def _own(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The array, or a copy where it may not be written to, which torch asks for."""
    return array if array.flags.writeable else array.copy()
