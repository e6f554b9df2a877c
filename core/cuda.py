"""Whether a CUDA device can be used."""

from __future__ import annotations

from core.errors import DeviceNotAvailable


def require_cuda() -> None:
    """Raises DeviceNotAvailable where PyTorch finds no CUDA device."""
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        raise DeviceNotAvailable(
            "cuda", "PyTorch finds no CUDA device" if built else "this PyTorch is built without it"
        )
