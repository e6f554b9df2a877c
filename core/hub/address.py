"""The Hub's address, and what of an address a token is meant for. Light."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

PUBLIC = "https://huggingface.co"


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or PUBLIC).rstrip("/")


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address: what a token is meant for."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port
