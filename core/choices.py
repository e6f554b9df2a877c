"""The user's own choices of types, found their tensors: exact names, regular expressions, output and embedding.

An exact name counts more than the options for output and embedding, these more than an expression, and the first
expression that finds a name more than the later ones; all of them more than the mix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import IllegalType, InvalidPattern, TensorIsKept, UnknownTensor, UnknownType
from core.jobs import Override, QuantizeOptions
from core.policy import Choice, fit
from core.rules import Tensor
from kernels.blocks import FORMATS

YOURS = "chosen by you"


@dataclass(frozen=True, slots=True)
class Wish:
    """One choice: a type for what `finds` finds. exact: the type must fit; otherwise another may take its place.

    rule: the user's regular expression, "" for another kind of choice.
    """

    type: str
    finds: re.Pattern[str]
    exact: bool
    reason: str = YOURS
    rule: str = ""


def wishes(options: QuantizeOptions, tensors: Mapping[str, Tensor], path: str) -> tuple[Wish, ...]:
    """All choices of the options, the strongest first, each known and legal.

    path: of the model, for messages. Raises UnknownType, UnknownTensor, InvalidPattern, IllegalType and TensorIsKept.
    """
    # Of two choices for one name, the later one counts.
    named = [o for o in reversed(options.overrides) if o.tensor in tensors]
    patterns = [o for o in options.overrides if o.tensor not in tensors]
    tied = "output.weight" not in tensors
    found = [
        *(Wish(known_type(o.type), re.compile(f"^{re.escape(o.tensor)}$"), True) for o in named),
        *_special(options.token_embedding_type, r"^(per_layer_)?token_embd\.weight$"),
        *_special(options.output_tensor_type, r"^output\.weight$"),
        *(_rule(o, tensors, path) for o in patterns),
        *_special(options.output_tensor_type if tied else "", r"^(per_layer_)?token_embd\.weight$"),
    ]
    return tuple(found)


def deciding(tensor: Tensor, found: tuple[Wish, ...]) -> Wish | None:
    """The first of the user's choices that finds a tensor."""
    return next((wish for wish in found if wish.finds.search(tensor.name)), None)


def wished(tensor: Tensor, usual: Choice, found: tuple[Wish, ...], kept: str | None) -> Choice | None:
    """The user's choice for a tensor, or None. usual: what it gets otherwise; kept: why no mix ever touches it.

    Raises TensorIsKept and IllegalType for a tensor named exactly.
    """
    wish = deciding(tensor, found)
    if wish is None:
        return None
    if kept is not None:
        if wish.exact and wish.type != usual.type:
            raise TensorIsKept(tensor.name, usual.type, kept)
        return Choice(usual.type, wish.reason, quantizable=False) if wish.exact else None
    if wish.exact:
        _require_fit(tensor, wish.type)
    return fit(wish.type, wish.reason, tensor.row_length)


def known_type(name: str) -> str:
    """A tensor type that the user named, in any case. Raises UnknownType."""
    if name.upper() not in FORMATS:
        raise UnknownType(name, FORMATS)
    return name.upper()


def _special(type_name: str, pattern: str) -> list[Wish]:
    return [Wish(known_type(type_name), re.compile(pattern), True)] if type_name else []


def _rule(override: Override, tensors: Mapping[str, Tensor], path: str) -> Wish:
    reason = f"{YOURS} for {override.tensor}"
    return Wish(known_type(override.type), _pattern(override, tensors, path), False, reason, override.tensor)


def _require_fit(tensor: Tensor, type_name: str) -> None:
    block_format = FORMATS[type_name]
    if not block_format.divides(tensor.row_length):
        raise IllegalType(tensor.name, type_name, tensor.row_length, block_format.elements)


def _pattern(override: Override, tensors: Mapping[str, Tensor], path: str) -> re.Pattern[str]:
    """A regular expression that finds at least one weight matrix. Raises InvalidPattern, UnknownTensor."""
    try:
        pattern = re.compile(override.tensor, re.IGNORECASE)
    except re.error as error:
        raise InvalidPattern(override.tensor, str(error)) from error
    if not any(pattern.search(name) for name in tensors):
        raise UnknownTensor(path, override.tensor, tensors)
    return pattern
