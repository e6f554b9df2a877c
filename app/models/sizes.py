"""How many bytes each group of tensors takes before and after, for the size bars."""

from __future__ import annotations

from dataclasses import dataclass

from app.models.modules import GROUPS, OTHER, place
from core.jobs import Plan, QuantizeResult


@dataclass(frozen=True, slots=True)
class GroupSize:
    """Bytes of one group of tensors; `group` is a key of `app.models.modules.GROUPS`."""

    group: str
    before: int
    after: int


def group_sizes(model: Plan | QuantizeResult) -> tuple[GroupSize, ...]:
    """Bytes per group in the order of GROUPS, empty groups left out.

    What the files hold besides tensors (header, tokenizer, padding) is counted in the group 'other', so that the sums
    are the sizes of the files.
    """
    before, after = dict.fromkeys(GROUPS, 0), dict.fromkeys(GROUPS, 0)
    for tensor in model.tensors:
        group = place(tensor.name).module.group
        before[group] += tensor.source_bytes
        after[group] += tensor.bytes
    before[OTHER] += max(0, model.source_bytes - sum(before.values()))
    after[OTHER] += max(0, model.bytes - sum(after.values()))
    return tuple(GroupSize(name, before[name], after[name]) for name in GROUPS if before[name] or after[name])
