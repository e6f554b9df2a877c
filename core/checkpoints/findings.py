"""What a calibrated run found beside solved matrices, one file for each layer in the folder of the solutions."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from core.errors import OutputNotWritable, ReadFailed
from core.jobs import ActivationFigures, LayerFigures, Value


class Findings(Value):
    """Of one layer. layers: of its matrices. activations: of what meets them."""

    layers: tuple[LayerFigures, ...] = ()
    activations: tuple[ActivationFigures, ...] = ()


def _path(folder: Path, layer: int) -> Path:
    return folder / f"layer-{layer:05}.json"


def keep(folder: Path, layer: int, found: Findings) -> None:
    """Writes a layer's findings; call it before its solution is kept, which says that the layer is done.

    Raises OutputNotWritable.
    """
    path = _path(folder, layer)
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(found.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputNotWritable(str(path), error.strerror or str(error)) from error


def read(folder: Path, layer: int) -> Findings:
    """A layer's findings. Raises ReadFailed."""
    path = _path(folder, layer)
    try:
        return Findings.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ReadFailed(str(path), "it is damaged; remove the folder, and everything is quantized again") from error
