"""The memory of a model as it is shown: bars, words, the context and the cache that are chosen, and what is checked."""

from __future__ import annotations

import pytest

from app.theme import Theme
from app.widgets.before_start import BeforeStart
from app.widgets.device_bars import PARTS, Bar, DeviceBars, part_word
from app.widgets.preflight_list import PreflightList, summary, time_words
from app.widgets.run_memory import RunMemory, contexts
from core.estimate.fitting import verdict
from core.estimate.running import estimate_run
from core.estimate.values import DeviceMemory, Gpu, Layer, Machine, ModelFacts, RunOptions
from core.jobs import Check, EstimateResult, FormEstimate, PreflightResult

GIB = 1 << 30
MACHINE = Machine(total=16 * GIB, free=8 * GIB)
STEPS = ("choice", "files", "architecture", "disk", "memory", "tensors", "licence", "running")


def facts(layer_bytes: int) -> ModelFacts:
    return ModelFacts(
        source="m",
        name="M",
        form="gguf",
        architecture="llama",
        embedding_bytes=GIB // 8,
        output_bytes=0,
        other_bytes=0,
        layers=(Layer(bytes=layer_bytes, key_width=1024, value_width=1024),) * 32,
        heads=32,
        head_length=128,
        embedding_length=4096,
        feed_forward_length=14336,
        vocabulary=32000,
        context_length=32768,
    )


def result(machine: Machine = MACHINE, quantized: bool = True) -> EstimateResult:
    def form(layer_bytes: int) -> FormEstimate:
        estimate = estimate_run(facts(layer_bytes), RunOptions())
        return FormEstimate(
            facts=facts(layer_bytes),
            memory=estimate,
            verdict=verdict(estimate, machine),
            gpu_layers=0,
            longest_context=0,
        )

    return EstimateResult(source="m", now=form(GIB // 2), after=form(GIB // 8) if quantized else None, machine=machine)


@pytest.fixture
def memory(qtbot):
    made = RunMemory(Theme("light"))
    qtbot.addWidget(made)
    made.resize(700, 300)
    made.show()
    return made


def test_both_forms_are_shown_with_their_verdicts(memory):
    memory.show_result(result())
    assert [bar.label for bar in memory.bars.bars] == ["Now", "Quantized"]
    now, quantized = memory.words.text().splitlines()
    assert now.startswith("Now: Does not fit: ")
    assert quantized.startswith("Quantized: Fits, ")
    assert [found.level for found in memory.verdicts()] == ["not", "fits"]
    assert not memory.gpu_layers.isVisible()


def test_a_longer_context_needs_more_and_a_quantized_cache_less(memory):
    memory.show_result(result())
    before = memory.bars.bars[1].memory.cache
    memory.slider.setValue(memory.slider.maximum())
    assert memory.options().context == 32768
    longer = memory.bars.bars[1].memory.cache
    assert longer == 8 * before
    memory.cache_type.setCurrentText("q8_0")
    assert memory.bars.bars[1].memory.cache == longer * 17 // 32


def test_the_chosen_context_stays_for_the_next_model(memory):
    memory.show_result(result())
    memory.slider.setValue(2)
    chosen = memory.options().context
    memory.show_result(result(quantized=False))
    assert memory.options().context == chosen
    assert memory.words.text().startswith("To run it: ")


def test_layers_go_to_a_gpu_that_is_there(memory):
    machine = MACHINE.model_copy(update={"gpus": (Gpu(name="G", total=4 * GIB, free=4 * GIB),)})
    memory.show_result(result(machine))
    assert memory.gpu_layers.isVisible()
    assert 0 < memory.gpu_layers.value() < 33
    assert [bar.label for bar in memory.bars.bars] == ["Now, memory", "Now, GPU", "Quantized, memory", "Quantized, GPU"]
    memory.gpu_layers.setValue(0)
    assert len(memory.bars.bars) == 2


def test_nothing_is_shown_of_nothing(memory):
    memory.show_result(result())
    memory.show_result(None)
    assert (memory.words.text(), memory.bars.bars) == ("", ())


@pytest.mark.parametrize("longest", [0, 512, 1000, 2048, 8192, 131072, 1_048_576])
def test_contexts_rise_to_what_the_model_was_trained_for(longest):
    offered = contexts(longest)
    assert offered == sorted(set(offered))
    assert offered[0] == 512
    assert offered[-1] == (longest or 32768) or longest < 512
    assert len(offered) < 64


def test_parts_are_drawn_in_proportion_and_named(qtbot):
    bars = DeviceBars(Theme("light"))
    qtbot.addWidget(bars)
    bars.resize(800, 100)
    memory = DeviceMemory(name="Computer", kind="host", weights=400, cache=200, state=0, compute=100, overhead=100)
    bars.set_bars((Bar("Now", memory, 1600), Bar("Then", memory, 700), Bar("Elsewhere", memory, None)))
    bars.grab()
    first = {words.split(":")[0]: area.width() + 1 for area, words in bars._parts[:6]}
    assert first["Weights"] == pytest.approx(2 * first["Cache"])
    assert any(words == "Stays free: 800 B" for _, words in bars._parts)
    assert "Now: 0.0 of 0.0 GiB free" in bars.accessibleDescription()
    assert len({part_word(part) for part in PARTS}) == len(PARTS)


# ---------------------------------------------------------------- checks


def checks(*levels: str, seconds: float | None = None, basis: int = 0) -> PreflightResult:
    made = tuple(
        Check.model_validate({"step": step, "level": level, "cause": f"About {step}.", "fix": "Do this"})
        for step, level in zip(STEPS, levels, strict=False)
    )
    return PreflightResult(checks=made, bytes=1, seconds=seconds, seconds_basis=basis)


def test_the_gravest_comes_first_and_what_is_in_order_shares_a_line(qtbot):
    shown = PreflightList(Theme("light"))
    qtbot.addWidget(shown)
    shown.show_result(checks("fine", "fine", "risk", "error", "fine", seconds=3))
    assert shown.lines() == [
        "error: About disk. Do this.",
        "risk: About architecture. Do this.",
        "fine: In order: the choice, files, memory.",
        "fine: Takes about 3.0 s, an estimate from a short timing of this computer.",
    ]
    shown.show_result(checks(*["fine"] * 8))
    assert len(shown.lines()) == 1


def test_sums(qapp):
    assert summary(checks("fine")) == "nothing in the way"
    assert summary(checks("risk", seconds=61)) == "1 thing to know · about 1 min 1 s"
    assert summary(checks("risk", "risk", "error")) == "cannot start"
    assert "4 past jobs" in time_words(checks("fine", seconds=2, basis=4))


def test_the_time_is_asked_for_where_it_is_missing(qtbot):
    before = BeforeStart(Theme("light"))
    qtbot.addWidget(before)
    before.show_checks(checks("error"))
    assert not before._soon.isActive()
    with qtbot.waitSignal(before.timing_wanted, timeout=5000):
        before.show_checks(checks("fine"))
    before.show_checks(checks("fine", seconds=2))
    assert before.text() == "nothing in the way · about 2.0 s"
    before.forget()
    assert before.text() == "Checking…"
