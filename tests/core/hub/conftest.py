"""A Hub with a few models, an empty cache, and manners that do not wait long."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from core.hub import headers, token
from core.hub.fetch import Manners
from tests.hub_server import HubServer, Repo

TOKEN = "hf_SecretOfTheTests0123456789"
BIG = random.Random(1).randbytes(600_000)
PIECE = 100_000
MANNERS = Manners(connections=3, piece_bytes=PIECE, tries=6, first_wait_s=0.01, longest_wait_s=0.3, stall_s=0.7)


def small_model() -> dict[str, bytes]:
    """A model's files, some of which a quantization does not need."""
    return {
        "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
        "tokenizer.json": b"{}" * 40,
        "README.md": "# Größe".encode(),
        "empty.txt": b"",
        "model.safetensors": BIG,
        "pytorch_model.bin": BIG,
        "original/consolidated.00.pth": BIG[:1000],
        "onnx/model.onnx": BIG[:1000],
        "modeling_own.py": b"import os",
    }


class MemoryKeyring(KeyringBackend):
    """A keyring that keeps its secrets as long as the process lives."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.secrets[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.secrets[service, username]


@contextlib.contextmanager
def own_keyring() -> Iterator[MemoryKeyring]:
    """The system's keyring for a while."""
    before, mine = keyring.get_keyring(), MemoryKeyring()
    token.forget_what_is_known()
    keyring.set_keyring(mine)
    try:
        yield mine
    finally:
        keyring.set_keyring(before)
        token.forget_what_is_known()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    repos = {
        "owner/small": Repo(small_model(), tags=("safetensors", "license:apache-2.0"), downloads=1500),
        "owner/gated": Repo(small_model(), access={TOKEN}, tags=("safetensors",), downloads=900),
        "owner/quants": Repo({"small-Q4_0.gguf": BIG, "small-Q8_0.gguf": BIG[::-1]}, tags=("gguf",), downloads=40),
        "other/small-too": Repo(small_model(), tags=("safetensors",), downloads=7),
    }
    with HubServer(repos) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setattr(headers, "_last_read", [])
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr("core.hub.client.FIRST_WAIT_S", 0.02)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        server.tokens = {TOKEN}
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files_of(folder: Path) -> dict[str, bytes]:
    """A folder as a repository's files."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
