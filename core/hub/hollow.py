"""Where to read a model's headers: on this computer, or of one on the Hub in a copy without its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.hub.names import REMOTE
from core.progress import Progress


@contextmanager
def headers_at(source: str, progress: Progress) -> Iterator[str]:
    """The path itself, or for hub:OWNER/NAME[/FILE] that of a copy of headers and tokenizer, gone afterwards.

    The values of such a copy are zeros and must not be looked at. Raises what hollow_copy raises.
    """
    if not source.startswith(REMOTE):
        yield source
        return
    from core.hub.headers import hollow_copy  # takes a while to import

    with hollow_copy(source, progress) as path:
        yield str(path)
