"""Teaches gguf-py the tensor types that are newer than it, so that it can read the files they are in.

gguf-py refuses a file that holds one unknown type. Only the type's name, id and block size are added: enough to walk
over its data, which stays bytes.
"""

from __future__ import annotations

from kernels.blocks import ROWS


def teach_newer_types() -> None:
    """Adds every row of kernels.blocks that gguf-py lacks; doing it twice changes nothing."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    for row in ROWS:
        if row.type_id in kinds._value2member_map_:
            continue
        # The standard library has no way to extend an enumeration: this is what its metaclass does for a member.
        member = int.__new__(kinds, row.type_id)
        member._name_, member._value_ = row.name, row.type_id
        kinds._member_map_[row.name] = member
        kinds._value2member_map_[row.type_id] = member
        gguf.GGML_QUANT_SIZES[member] = (row.elements, row.bytes)
