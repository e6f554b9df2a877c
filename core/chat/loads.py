"""What loading a model took beside what was predicted: compared after every real load, and kept for estimates."""

from __future__ import annotations

import contextlib
import sqlite3
import time

from core.chat.engine import PROMPT_STEP, Engine
from core.estimate.metadata import Stored, facts_of_gguf
from core.estimate.overhead import Load, correction
from core.estimate.running import estimate_run
from core.estimate.values import RunOptions
from core.formats.gguf_reader import read_header
from core.store import Store


def predicted_bytes(engine: Engine) -> int:
    """What the table of overheads and the file's header say a loaded model takes; 0 where only weights are known."""
    header = read_header(engine.model.path)
    values = {entry.key: entry.value for entry in header.metadata}
    tensors = [Stored(entry.name, entry.type, entry.shape, entry.bytes) for entry in header.tensors]
    facts = facts_of_gguf(str(engine.model.path), engine.model.path.name, values, tensors)
    options = RunOptions(
        context=engine.context,
        cache_type_k=engine.cache_type,
        cache_type_v=engine.cache_type,
        batch=PROMPT_STEP,
        output_rows=1,
    )
    return estimate_run(facts, options).total if facts.known else 0


def compare_load(engine: Engine, measured: int) -> int:
    """Compares a fresh load with its prediction, keeps both, and returns what past loads made of the prediction.

    measured: resident bytes right after loading, of a process that loaded nothing else. 0 where nothing could be
    predicted; a history that cannot be written is no reason to fail.
    """
    predicted = predicted_bytes(engine)
    if not predicted:
        return 0
    corrected_by = 0
    with contextlib.suppress(sqlite3.Error, OSError):
        store = Store()
        corrected_by = correction(store.loads(), "cpu")
        store.add_load(
            Load(
                model=str(engine.model.path),
                backend="cpu",
                context=engine.context,
                predicted=predicted,
                measured=measured,
                at=time.time(),
            )
        )
    return predicted + corrected_by
