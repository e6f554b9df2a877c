"""Files of mixes beyond the usual ones load in llama.cpp and answer; one of them is made with an importance matrix."""

from __future__ import annotations

import numpy as np
import pytest

from core.engine import run
from core.imatrix import Entry, ImportanceMatrix, write_imatrix
from core.jobs import ChatJob, QuantizeJob, QuantizeOptions, Sampling
from core.sources import open_source


@pytest.fixture(scope="module")
def imatrix(tmp_path_factory, sample):
    """A matrix of the sample's shapes in which every column matters alike."""
    with open_source(sample) as source:
        lengths = {t.name: t.row_length for t in source.tensors if t.name.startswith("blk.") and len(t.shape) > 1}
    one = np.ones((1, 1), np.float32)
    entries = {name: Entry(np.ones((1, length), np.float32), one) for name, length in lengths.items()}
    path = tmp_path_factory.mktemp("mixes") / "ones.gguf"
    write_imatrix(path, ImportanceMatrix(entries, ("ones",), 1, 512))
    return str(path)


@pytest.mark.parametrize(
    ("mix", "weighted", "words"), [("Q3_K_M", False, "Paris"), ("IQ4_XS", False, "Paris"), ("IQ3_XS", True, " ")]
)
def test_the_file_answers(sample, imatrix, tmp_path, mix, weighted, words):
    options = QuantizeOptions(target=mix, allow_requantize=True, imatrix=imatrix if weighted else "")
    made = run(QuantizeJob(source=str(sample), output=str(tmp_path / "o.gguf"), options=options))
    question = ChatJob(
        model=made.output,
        prompt="What is the capital of France?",
        sampling=Sampling(temperature=0, max_tokens=24),
        threads=1,
    )
    (turn,) = run(question).turns
    assert turn.tokens > 1
    # At three bits this small model still forms words, and no more can be asked of it.
    assert words in turn.text.strip()
