"""Folded scales change what is quantized and nothing that is computed: every family, and what must be left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.checkpoints.decide import Decided, decide
from core.checkpoints.fold_rows import FOLDS
from core.checkpoints.folding import apply
from core.checkpoints.folds import FoldedSource, changes_of, folds_of, realized, together
from core.checkpoints.settings import settled
from core.checkpoints.source import CheckpointSource
from core.errors import NothingToQuantize
from core.jobs import MethodOptions
from core.network.network import open_network
from core.network.rows import ROWS
from core.sources import open_source
from tests.core import hf_families, hf_tiny

OPTIONS = MethodOptions(method="int", export="bf16", group=-1, prestep="awq")
IDS = np.random.default_rng(3).integers(3, 300, (2, 24))
NOTHING_FOLDED = ("bitnet",)


def test_every_family_says_where() -> None:
    assert set(FOLDS) == {row.family.name for row in ROWS}


def decided_for(source: CheckpointSource, **changes: object) -> Decided:
    return decide(source, settled(OPTIONS.model_copy(update=changes)))


def logits(folder: Path, source: CheckpointSource, decided: Decided, seed: int | None) -> tuple[torch.Tensor, int]:
    """Of the layered network, random scales folded into every layer where there is a seed; how many places there were.

    What the source reads after folding is what the layer has.
    """
    chance = np.random.default_rng(seed)
    items = {item.entry.name: item for item in decided.items}
    folded = 0
    with open_source(folder) as model, open_network(model) as network, torch.no_grad():
        hidden = network.embed(IDS)
        for number in range(network.layers):
            with network.layer(number) as layer:
                parts = []
                for fold in folds_of(source, decided, number) if seed is not None else ():
                    wished = np.exp(chance.normal(0, 1, int(fold.channel_of.max()) + 1)).astype(np.float32)
                    scales = realized(source, fold)(wished)
                    assert 0.4 < np.median(scales / wished) < 2.5
                    parts.append(changes_of(source, fold, scales))
                    apply(layer, parts[-1], items)
                    folded += 1
                read = FoldedSource(source, changes := together(parts))
                for name in changes:
                    module, attribute = layer.owners[items[name].entry.gguf]
                    wanted = module.get_parameter(attribute).numpy()
                    np.testing.assert_array_equal(read.numbers(items[name].entry), wanted)
                    stored = read.bytes_of(items[name].entry)
                    assert len(stored) == items[name].entry.stored.bytes
                hidden = layer(hidden)
        return network.logits(hidden), folded


@pytest.mark.parametrize("name", sorted(hf_families.MODELS))
def test_the_network_computes_the_same(name: str, tmp_path: Path) -> None:
    folder = hf_families.build(name, tmp_path / name)
    with CheckpointSource(folder) as source:
        try:
            decided = decided_for(source)
        except NothingToQuantize:
            pytest.skip("its matrices lie the other way round")
        plain, _ = logits(folder, source, decided, None)
        found, folded = logits(folder, source, decided, 5)
    assert (folded > 0) == (source.architecture not in NOTHING_FOLDED)
    # Every product is rounded anew; nothing but that may differ.
    assert float((found - plain).norm() / plain.norm()) < 2e-5


def test_norms_take_up_what_their_type_cannot_hold(tmp_path: Path) -> None:
    """A scale is what the norm comes to once it is stored, so that the product with the next matrix is the same."""
    folder = hf_tiny.build(tmp_path / "tiny")
    with CheckpointSource(folder) as source:
        decided = decided_for(source)
        fold = folds_of(source, decided, 0)[0]
        assert fold.name == "blk.0.attn_norm"
        wished = np.exp(np.random.default_rng(0).normal(0, 1, len(fold.channel_of))).astype(np.float32)
        scales = realized(source, fold)(wished)
        assert not np.array_equal(scales, wished)
        np.testing.assert_allclose(scales, wished, rtol=2**-7)
        change = changes_of(source, fold, scales)[fold.producer.entry.name]
        assert change.instead is not None
        norm = source.numbers(fold.producer.entry)
        np.testing.assert_allclose(change.instead * scales, norm, rtol=2e-7)


def test_query_heads_of_a_group_share_scales(tmp_path: Path) -> None:
    folder = hf_tiny.build(tmp_path / "tiny")
    with CheckpointSource(folder) as source:
        values = next(fold for fold in folds_of(source, decided_for(source), 0) if fold.row.heads)
        sizes = source.dimensions
    assert sizes.kv_heads < sizes.heads
    columns = values.channel_of.reshape(sizes.kv_heads, sizes.heads // sizes.kv_heads, sizes.head)
    assert all((columns[:, head] == columns[:, 0]).all() for head in range(columns.shape[1]))
    assert values.channel_of.max() + 1 == sizes.key_value


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        ("k_proj", {"attn_v", "ffn_norm", "ffn_up"}),
        ("v_proj", {"ffn_norm", "ffn_up"}),
        ("down_proj", {"attn_norm", "attn_v", "ffn_norm"}),
    ],
)
def test_what_stays_in_16_bits_stays_as_it_is(kept: str, left: set[str], tmp_path: Path) -> None:
    folder = hf_tiny.build(tmp_path / "tiny")
    with CheckpointSource(folder) as source:
        folds = folds_of(source, decided_for(source, skip=(kept,)), 1)
    assert {fold.name.removeprefix("blk.1.") for fold in folds} == left


def test_biases_are_divided_by_powers_of_two(tmp_path: Path) -> None:
    folder = hf_families.build("qwen2", tmp_path / "qwen2")
    with CheckpointSource(folder) as source:
        values = next(fold for fold in folds_of(source, decided_for(source), 0) if fold.row.heads)
        assert values.bias is not None
        scales = realized(source, values)(np.array([0.3, 1.0, 3.1], np.float32))
    assert scales.tolist() == [0.25, 1.0, 4.0]
