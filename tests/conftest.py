"""Fixtures for every test: an offscreen Qt platform, own data, configuration and log folders, and the sample model."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest

from core import catalog

# Before any QApplication exists, and inherited by the worker processes that tests start.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Where tests run beside each other, threads of torch would wait for cores that other tests have.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
# Tests look into no keyring of the user's.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"

# A run that a shell started in the background ignores Ctrl+C, and so would everything that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

OWN_FOLDERS = ("BITWRIGHT_DATA_DIR", "BITWRIGHT_CONFIG_DIR", "BITWRIGHT_LOG_DIR")
_numbers = itertools.count()


@pytest.fixture(scope="session")
def folders_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds every test's own folders."""
    return tmp_path_factory.mktemp("bitwright")


@pytest.fixture(autouse=True)
def own_folders(folders_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Points the program at data, config and log folders that are this test's alone; they do not exist yet."""
    root = folders_root / str(next(_numbers))
    for variable in OWN_FOLDERS:
        monkeypatch.setenv(variable, str(root / variable.removeprefix("BITWRIGHT_").removesuffix("_DIR").lower()))
    monkeypatch.setenv("HF_HUB_CACHE", str(root / "hub"))
    return root


@pytest.fixture(scope="session")
def sample() -> Path:
    """The bundled sample model (SmolLM2-135M-Instruct, Q4_1), which `make test` installs."""
    path = catalog.sample_path()
    assert path is not None, "the `sample` extra is not installed: run `make test`"
    return path
