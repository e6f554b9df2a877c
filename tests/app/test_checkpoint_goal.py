"""The Quantize page making checkpoints: every method from its card to its result, refusals, rules, the command."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QComboBox, QLineEdit

from app import cli, cli_quantize
from app.pages.quantize import QuantizePage
from app.pages.results import ResultsPage
from app.theme import Theme
from app.widgets.method_pane import MethodPane
from core.jobs import CheckpointJob, CheckpointManyJob, CheckpointResult, MethodRule
from core.methods.table import EXPORT, METHODS, companions, forms_of
from tests.app.accessibility import nameless, silent
from tests.core.checkpoints.loading import build

WAIT = 180_000


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def page(context, qtbot, source, tmp_path):
    """The page with a small folder, writing to a folder of this test, after its first plan of a checkpoint."""
    context.settings.set("output_folder", str(tmp_path))
    made = QuantizePage(context)
    qtbot.addWidget(made)
    made.resize(1208, 740)
    made.show()
    made.set_source(str(source))
    child(made, QAbstractButton, "goal_checkpoint").click()
    settle(made, qtbot)
    return made


def child(page, kind, name):
    found = page.findChild(kind, name)
    assert found is not None, name
    return found


def settle(page, qtbot):
    """Waits for what was asked last: a plan, or why there is none."""
    qtbot.waitUntil(lambda: page._summary is not None and page.is_settled, timeout=WAIT)


def choose(page, qtbot, name, value):
    combo = child(page, QComboBox, f"method_{name}")
    combo.setCurrentIndex(combo.findData(value))
    settle(page, qtbot)


def asked(page, qtbot) -> CheckpointJob | CheckpointManyJob:
    """The job that the button asks for."""
    qtbot.waitUntil(page.button.isEnabled, timeout=WAIT)
    with qtbot.waitSignal(page.job_requested) as told:
        page.button.click()
    assert isinstance(told.args[0], CheckpointJob | CheckpointManyJob)
    return told.args[0]


def test_every_method_goes_from_its_card_to_its_result(page, context, qtbot):
    """One worker answers all, because starting one takes longer than the work."""
    results = ResultsPage(context)
    qtbot.addWidget(results)
    results.resize(1208, 740)
    results.show()
    page.checkpoint.pane.settings.set_values({"samples": 4, "length": 32})
    for method in METHODS:
        child(page, QAbstractButton, f"method_{method.name}").click()
        settle(page, qtbot)
        assert page.problem.isHidden(), page.problem.text()
        job, plan = asked(page, qtbot), page.plan
        answers = []
        context.questions.ask(job, answers.append, pytest.fail)
        qtbot.waitUntil(lambda answers=answers: bool(answers), timeout=WAIT)
        (result,) = answers
        assert isinstance(result, CheckpointResult)
        assert (result.output, result.bytes, result.target) == (job.output, plan.bytes, plan.target)
        assert Path(job.output, "model.safetensors").exists()
        context.store.finish(job_id := context.store.add(job, "running"), result)
        results.show_job(job_id)
        assert results.result.output == job.output
        words = results.head.sentence.text()
        assert "differ from the source" in words, "the damage is measured, and said"
        assert not results.head.chat.isEnabled()
        assert "GGUF" in results.head.note.text()
        for key in results.views():
            results.show_view(key)
            header, rows = results.plot(key).table()
            assert rows, f"{method.name}: {key} has a table twin"
            assert len(header) == len(rows[0])
    assert [method.name for method in METHODS if method.trained] == ["ternary", "bitnet"]


def test_errors_come_while_the_queue_runs_a_calibrated_method(page, context, qtbot):
    """The same through the queue: what the plot on the Jobs page is drawn from, and the checkpoint in the library."""
    child(page, QAbstractButton, "method_gptq").click()
    page.checkpoint.pane.settings.set_values({"samples": 4, "length": 32})
    settle(page, qtbot)
    told = []
    context.jobs.progressed.connect(lambda job_id, _snapshot: told.append(context.jobs.measured(job_id)))
    job = asked(page, qtbot)
    with qtbot.waitSignal(context.jobs.finished, timeout=WAIT):
        job_id = context.jobs.submit(job)
    record = context.store.get(job_id)
    assert record.state == "done", record.error
    assert [(row.name, row.error, row.rounded_error) for row in record.result.layers] == [
        (each.name, each.value, each.compared) for each in told[-1]
    ]
    assert any(0 < len(each) < len(told[-1]) for each in told), "they come one by one"
    with qtbot.waitSignal(context.library.changed, timeout=WAIT):
        context.library.include(job.output)
    found = context.library.find(job.output)
    assert (found.format, Path(found.path)) == ("safetensors", Path(job.output))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_what_a_method_has_is_shown(qapp, qtbot, method):
    pane = MethodPane(Theme("light"))
    qtbot.addWidget(pane)
    pane.show()
    child(pane, QAbstractButton, f"method_{method.name}").click()
    pane.tabs.setCurrentIndex(1)
    assert {pane.export.itemData(at) for at in range(pane.export.count())} == set(method.exports)
    assert {pane.bits.itemData(at) for at in range(pane.bits.count())} == set(method.bits)
    assert pane.group.isVisible() == bool(method.groups)
    editors = pane.settings.form.editors
    for name in set(editors) & {option for row in METHODS for option in row.options} - {"restricted"}:
        assert editors[name].isVisible() == (name in method.options)
    assert editors["range"].isVisible() == bool(method.ranges)
    assert pane.settings.text.isVisible() == editors["samples"].isVisible() == method.calibration
    assert (("not survive" in pane.warning.text()) and pane.warning.isVisible()) == method.trained
    card = child(pane, QAbstractButton, f"method_{method.name}")
    assert method.loss_source in card.toolTip()
    assert method.sentence in card.accessibleDescription()
    programs = {program for name in method.exports for program in EXPORT[name].runs_in}
    assert all(program in card.accessibleDescription() for program in programs)


def test_a_refusal_is_said_at_once_and_mended_by_its_button(page, qtbot, sample):
    child(page, QAbstractButton, "method_int").click()
    choose(page, qtbot, "export", "awq")
    assert "symmetric" in page.problem.text()
    assert not page.button.isEnabled()
    fix = child(page, QAbstractButton, "problem_fix")
    assert fix.text() == "Add zero points"
    fix.click()
    settle(page, qtbot)
    assert page.problem.isHidden()
    assert page.checkpoint.options.asymmetric
    choose(page, qtbot, "bits", 3)
    assert child(page, QAbstractButton, "problem_fix").text() == "Use 4 bits"
    assert "--" not in page.problem.text()
    # What a form cannot hold of this model is found by the plan, and mended in the same way.
    choose(page, qtbot, "export", "compressed-tensors")
    choose(page, qtbot, "group", 256)
    assert "cannot be written" in page.problem.text()
    child(page, QAbstractButton, "problem_fix").click()
    settle(page, qtbot)
    assert page.problem.isHidden()
    assert page.checkpoint.options.group == 128
    # A file cannot become a checkpoint, and the page says so.
    page.set_source(str(sample))
    settle(page, qtbot)
    assert page.problem.isVisible()
    assert "folder" in page.problem.text()
    assert not page.button.isEnabled()


def test_rules_give_single_layers_something_else(page, qtbot):
    child(page, QAbstractButton, "method_int").click()
    rules = page.checkpoint.pane.rules
    rules.set_rules((MethodRule(pattern="down_proj", keep=True), MethodRule(pattern="(q|k)_proj")))
    rules.table.view.selectRow(1)
    for name, value in (("bits", 8), ("group", -1)):
        combo = rules.editors[name]
        combo.setCurrentIndex(combo.findData(value))
        combo.activated.emit(combo.currentIndex())
    settle(page, qtbot)
    made = {row.name: row.target_type for row in page.plan.tensors}
    assert made["model.layers.0.mlp.down_proj.weight"] == "F32"
    assert made["model.layers.1.self_attn.q_proj.weight"] == "int8 per channel"
    assert made["model.layers.1.self_attn.v_proj.weight"] == "int4 g128"
    assert [rules.model.index(row, 2).data() for row in range(2)] == ["2", "4"]
    assert "8 bits" in rules.model.index(1, 1).data()
    for tab in range(3):
        page.checkpoint.pane.tabs.setCurrentIndex(tab)
        assert nameless(page) == []
        assert silent(page) == []
    rules.table.model.put(1, rules.model.edited(rules.model.rules[1], 0, "(q"))
    settle(page, qtbot)
    assert "no regular expression" in page.preview.text()
    assert not page.button.isEnabled()


def test_further_forms_hold_the_same_numbers_and_are_one_job(page, context, qtbot):
    child(page, QAbstractButton, "method_int").click()
    pane = page.checkpoint.pane
    beside = pane.beside
    for asymmetric, bits in ((False, 4), (True, 4), (True, 8)):
        pane.apply({"asymmetric": asymmetric, "bits": bits})
        assert {name for name, form in beside.forms.items() if form.isVisible()} == set(forms_of(pane.method)[1:])
        assert {name for name, form in beside.forms.items() if form.isEnabled()} == set(companions(pane.choice))
    assert "bits" in beside.forms["awq"].toolTip()
    pane.apply({"bits": 4, "group": 32})
    for name in ("gptq", "awq", "Q4_1"):
        beside.forms[name].trigger()
    settle(page, qtbot)
    assert beside.text() == "GPTQ, AWQ, Q4_1 (GGUF)"
    assert child(page, QLineEdit, "output_name").text() == "tiny-int4-g32-asym"
    plans = page.planner.plans
    assert tuple(plans) == page.goal.targets == ("compressed-tensors", "gptq", "awq", "Q4_1")
    assert [page.pane.tabs.tabText(at).split(" · ")[0] for at in range(4)] == list(plans)
    assert "4 models" in page.preview.text()
    page.pane.tabs.setCurrentIndex(2)
    assert page.plan is plans["awq"]
    pane.apply({"bits": 8})  # what cannot hold 8 bits waits until it can hold them again
    assert pane.forms == ("compressed-tensors", "gptq")
    pane.apply({"bits": 4})
    settle(page, qtbot)
    job = asked(page, qtbot)
    assert isinstance(job, CheckpointManyJob)
    child(page, QAbstractButton, "copy_command").click()
    assert (
        cli_quantize.asked_checkpoint(cli.make_parser().parse_args(shlex.split(QGuiApplication.clipboard().text())[2:]))
        == job
    )
    with qtbot.waitSignal(context.jobs.finished, timeout=WAIT):
        job_id = context.jobs.submit(job)
    record = context.store.get(job_id)
    assert record.state == "done", record.error
    made = record.result.results
    assert [Path(each.output).name for each in made] == ["compressed-tensors", "gptq", "awq", "tiny-Q4_1.gguf"]
    assert [each.bytes for each in made] == [plan.bytes for plan in plans.values()]
    results = ResultsPage(context)
    qtbot.addWidget(results)
    results.show_job(job_id)
    assert results.result.output == record.result.results[0].output
    again = QuantizePage(context)
    qtbot.addWidget(again)
    assert again.checkpoint.pane.forms[0] == "compressed-tensors"
    assert again.checkpoint.pane.beside.forms["awq"].isChecked()


def test_the_command_is_the_job_and_the_choice_is_remembered(page, context, qtbot, source):
    child(page, QAbstractButton, "method_gptq").click()
    page.checkpoint.pane.settings.set_values({"samples": 5, "damp": 0.05, "asymmetric": True, "act_order": "static"})
    page.checkpoint.pane.rules.set_rules(
        (MethodRule(pattern="v_proj", bits=8), MethodRule(pattern="k_proj", keep=True))
    )
    settle(page, qtbot)
    child(page, QAbstractButton, "copy_command").click()
    words = shlex.split(QGuiApplication.clipboard().text())
    parsed = cli.make_parser().parse_args(words[2:])
    assert cli_quantize.asked_checkpoint(parsed) == page.jobs()[-1]
    assert page.jobs()[-1].source == str(source)
    page.checkpoint.pane.rules.set_rules(())
    child(page, QAbstractButton, "method_nf4").click()
    settle(page, qtbot)
    name = child(page, QLineEdit, "output_name")
    assert name.text() == "tiny-nf4"
    asked(page, qtbot)
    again = QuantizePage(context)
    qtbot.addWidget(again)
    assert again.goal is again.checkpoint
    assert again.checkpoint.pane.choice.method == "nf4"
    child(page, QAbstractButton, "goal_gguf").click()
    qtbot.waitUntil(lambda: page.is_settled and page.plan is not None, timeout=WAIT)
    assert page.plan.target == "Q4_K_M"
    assert name.text().endswith("-Q4_K_M.gguf")
