"""Values that a job does not take, in the words of the command line."""

from __future__ import annotations

from pydantic import ValidationError

# Kinds of errors of numbers: words, and under what name the error has the limit.
LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
# Fields whose option has another name.
OPTIONS = {
    "target": "asymmetric-target",
    "percentile": "range percentile",
    "range_low": "range",
    "range_high": "range",
    "activation_percentile": "activation-range percentile",
}


def refused(error: ValidationError) -> str:
    """The first thing that is wrong, and what would be right."""
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first["loc"] else ""
    if first["type"] in LIMITS and name:
        words, key = LIMITS[first["type"]]
        option = OPTIONS.get(name, name.replace("_", "-"))
        return f"--{option} cannot be {first['input']:g}. It must be {words} {first['ctx'][key]:g}."
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'The job'}: {first['msg']}."
