"""How much memory this computer and its GPUs have, and how much of it is free now.

This module is light: NVIDIA's own tool is asked, since no library of the engine may be loaded here. Asking it takes a
moment, so the window leaves it to a worker.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess

import psutil

from core.estimate.values import Gpu, Machine

TOOL = "nvidia-smi"
QUESTION = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
PATIENCE_S = 5.0
MIB = 1 << 20


def read_machine() -> Machine:
    """What this machine has, now."""
    memory = psutil.virtual_memory()
    return Machine(total=int(memory.total), free=int(memory.available), gpus=read_gpus())


def read_gpus() -> tuple[Gpu, ...]:
    """NVIDIA's GPUs as their driver's tool lists them; none where there is no such tool or it fails."""
    path = shutil.which(TOOL)
    if path is None:
        return ()
    try:
        done = subprocess.run([path, *QUESTION], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(done.stdout)


def computes_on_gpus() -> bool:
    """Whether PyTorch as it is installed can use NVIDIA's GPUs, as far as can be told without loading it.

    Builds for CUDA say so in their version, or require NVIDIA's libraries; CUDA_VISIBLE_DEVICES may hide all GPUs.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    try:
        found = importlib.metadata.distribution("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    return "+cu" in found.version or any(name.startswith(("nvidia-", "cuda-")) for name in found.requires or ())


def parse_gpus(answer: str) -> tuple[Gpu, ...]:
    """The tool's lines 'name, total MiB, free MiB' as values; a line of another form is left out."""
    found = []
    for line in answer.splitlines():
        name, *numbers = (part.strip() for part in line.split(","))
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            total, free = (int(number) * MIB for number in numbers)
            found.append(Gpu(name=name, total=total, free=free))
    return tuple(found)
