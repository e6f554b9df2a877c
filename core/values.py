"""The root of everything that travels as JSON between the processes: frozen values that refuse what they do not know.

This module is light.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen, JSON-able value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
