"""Says before the first installation that pip is about to take torch with CUDA where no NVIDIA GPU was found.

Which build pip takes depends on the package indexes it is set up with; a CPU build is several gigabytes smaller.
Standard library only; run by the Python of the new environment. Silent in every other case, and never in the way.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTE = """Note: pip is about to install torch with CUDA (some 4 GB more on disk), and no NVIDIA GPU was found here.
      It works all the same. For the small CPU build, stop now (Ctrl+C) and run: make run TORCH_INDEX=URL
      with the CPU index URL from PyTorch's "Get started" page (README.md, "Variables")."""


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver is loaded or its tool installed."""
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def torch_requirements() -> list[str]:
    """What the build of torch that pip would take requires in turn; empty where pip cannot tell."""
    options = "-qq --disable-pip-version-check --no-input --dry-run --ignore-installed --no-deps --report -"
    command = [sys.executable, "-m", "pip", "install", *options.split(), "-c", "packaging/constraints.txt", "torch"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        return []
    report = json.loads(answer.stdout)
    return list(report["install"][0]["metadata"].get("requires_dist", []))


def main() -> int:
    """Prints the note where it applies; always 0."""
    if platform.system() != "Linux" or has_nvidia_gpu():
        return 0
    if any(line.startswith(("nvidia-", "cuda-")) for line in torch_requirements()):
        print(NOTE, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
