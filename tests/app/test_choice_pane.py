"""What the Quantize page offers beyond one type: several types, recipes, rules by pattern, and the rare options."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QComboBox, QLineEdit, QPlainTextEdit, QTabBar, QWidget

from app import actions, cli, cli_imatrix, cli_quantize
from app.models.rules import COUNT, PATTERN, TYPE
from app.pages.quantize import QuantizePage
from core.jobs import GptqOptions, ImatrixJob, KeyOverride, Override, QuantizeJob, QuantizeManyJob, QuantizeOptions
from core.recipes import find_recipe, own_paths, presets
from tests.core.small_models import small_model

WAIT = 180_000


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> str:
    return str(small_model(tmp_path_factory.mktemp("choice") / "Small-F16.gguf", "F16"))


@pytest.fixture
def page(context, qtbot, small, tmp_path):
    made = QuantizePage(context)
    qtbot.addWidget(made)
    made.resize(1208, 740)
    made.show()
    context.settings.set("output_folder", str(tmp_path))
    made.set_source(small)
    settle(made, qtbot)
    return made


def settle(page, qtbot):
    qtbot.waitUntil(lambda: page._summary is not None and page.is_settled, timeout=WAIT)


def part(page, kind, name):
    found = page.findChild(kind, name)
    assert found is not None, name
    return found


def choose(page, qtbot, *names):
    part(page, QCheckBox, "several_targets").setChecked(len(names) > 1)
    page.gguf.pane.cards.choose_all(names)
    settle(page, qtbot)


def types_of(plan):
    return {tensor.name: tensor.target_type for tensor in plan.tensors}


def job_of_command(page):
    """The job that the copied command asks for."""
    part(page, QAbstractButton, "copy_command").click()
    words = shlex.split(QGuiApplication.clipboard().text())
    assert Path(words[1]).name == "main.py"
    return cli_quantize.asked_quantization(cli.make_parser().parse_args(words[2:]))


# ---------------------------------------------------------------- several types


def test_several_types_are_one_job_with_a_plan_and_a_file_each(page, qtbot, tmp_path):
    choose(page, qtbot, "Q4_K_M", "Q8_0")
    assert set(page.planner.plans) == {"Q4_K_M", "Q8_0"}
    tabs = part(page, QTabBar, "plan_tabs")
    assert tabs.isVisible()
    assert [tabs.tabData(at) for at in range(tabs.count())] == list(page.gguf.pane.targets)
    for at in range(tabs.count()):
        tabs.setCurrentIndex(at)
        assert page.plan.target == tabs.tabData(at)
        assert set(types_of(page.plan).values()) >= {"Q8_0" if page.plan.target == "Q8_0" else "Q4_K"}
    with qtbot.waitSignal(page.job_requested) as asked:
        page.button.click()
    job = asked.args[0]
    assert isinstance(job, QuantizeManyJob)
    assert dict(zip(job.targets, job.outputs, strict=True)) == {
        target: str(tmp_path / f"Small-{target}.gguf") for target in ("Q4_K_M", "Q8_0")
    }
    assert "2 files" in page.preview.text()


def test_at_least_one_type_stays_chosen(page, qtbot):
    choose(page, qtbot, "Q4_K_M", "Q8_0")
    for name in ("Q8_0", "Q4_K_M", "Q4_K_M"):
        part(page, QAbstractButton, f"target_{name}").click()
    assert page.gguf.pane.targets == ("Q4_K_M",)
    part(page, QCheckBox, "several_targets").setChecked(False)
    part(page, QAbstractButton, "target_Q6_K").click()
    assert page.gguf.pane.targets == ("Q6_K",)
    assert part(page, QLineEdit, "output_name").text() == "Small-Q6_K.gguf"


def test_a_type_that_cannot_be_made_names_itself_among_several(page, qtbot):
    choose(page, qtbot, "Q4_K_M", "IQ2_XXS")
    assert page.problem.isVisible()
    assert "IQ2_XXS: " in page.problem.text()
    assert not page.button.isEnabled()


def test_existing_files_are_announced(page, qtbot, tmp_path):
    (tmp_path / "Small-Q8_0.gguf").touch()
    choose(page, qtbot, "Q4_K_M", "Q8_0")
    page.activated()
    assert "Replaces existing files: 1" in page.preview.text()


def test_types_and_search_are_remembered(page, context, qtbot):
    choose(page, qtbot, "Q4_K_M", "Q8_0")
    part(page, QComboBox, "fit").setCurrentIndex(1)
    settle(page, qtbot)
    page.button.click()
    again = QuantizePage(context)
    qtbot.addWidget(again)
    assert (set(again.gguf.pane.targets), again.gguf.options.fit) == ({"Q4_K_M", "Q8_0"}, "best")


def test_results_of_one_job_are_shown_for_each_type(window, qtbot, small, tmp_path):
    window.show_page("quantize")
    page = window.page("quantize")
    window.context.settings.set("output_folder", str(tmp_path))
    page.set_source(small)
    choose(page, qtbot, "Q4_K_M", "Q8_0")
    page.button.click()
    store = window.context.store
    qtbot.waitUntil(lambda: bool(store.jobs("done")), timeout=120_000)
    (record,) = store.jobs("done")
    assert record.log.count("Verified:") == 2
    window.show_result(record.id)
    results = window.page("results")
    assert [each.result.target for each in results.history.records] == [each.target for each in record.result.results]
    results.list.setCurrentIndex(results.history.index(1))
    assert results.result.target == record.result.results[1].target
    results.refresh()
    assert results.result.target == record.result.results[1].target
    qtbot.waitUntil(lambda: len(window.context.library.models()) >= 3, timeout=WAIT)


# ---------------------------------------------------------------- rules


def add_rule(page, pattern, type_name):
    rules = page.gguf.pane.rules
    part(page, QAbstractButton, "add_rule").click()
    row = rules.model.rowCount() - 1
    rules.model.setData(rules.model.index(row, PATTERN), pattern)
    rules.model.setData(rules.model.index(row, TYPE), type_name)


def test_rules_decide_and_say_how_many_tensors(page, qtbot):
    add_rule(page, "attn_(q|k)", "Q8_0")
    add_rule(page, "attn", "F16")
    settle(page, qtbot)
    model = page.gguf.pane.rules.model
    assert [model.index(row, COUNT).data() for row in range(2)] == ["4", "4"]
    assert [types_of(page.plan)[f"blk.1.attn_{name}.weight"] for name in "qv"] == ["Q8_0", "F16"]
    page.gguf.pane.rules.view.selectRow(1)
    part(page, QAbstractButton, "rule_up").click()
    settle(page, qtbot)
    assert page.gguf.options.overrides[0] == Override(tensor="attn", type="F16")
    assert [model.index(row, COUNT).data() for row in range(2)] == ["8", "0"]
    part(page, QAbstractButton, "remove_rule").click()
    settle(page, qtbot)
    assert page.gguf.options.overrides == (Override(tensor="attn_(q|k)", type="Q8_0"),)
    assert page.gguf.pane.tabs.tabText(1) == "Rules (1)"


def test_a_single_tensor_goes_before_a_rule(page, qtbot):
    add_rule(page, "attn_q", "Q8_0")
    page.table.model.override(["blk.0.attn_q.weight"], "F16")
    settle(page, qtbot)
    assert [types_of(page.plan)[f"blk.{layer}.attn_q.weight"] for layer in (0, 1)] == ["F16", "Q8_0"]


def test_a_faulty_expression_is_said_below_the_table_and_stops_nothing_else(page, qtbot):
    before = page.plan
    add_rule(page, "attn_(q", "Q8_0")
    settle(page, qtbot)
    assert "attn_(q is no regular expression" in part(page, QWidget, "rule_problem").text()
    assert types_of(page.plan) == types_of(before)
    assert not page.button.isEnabled()
    assert "no regular expression" in page.preview.text()
    page.gguf.pane.rules.model.setData(page.gguf.pane.rules.model.index(0, PATTERN), "attn_q")
    settle(page, qtbot)
    assert page.button.isEnabled()


def test_an_expression_that_finds_nothing_is_a_problem_of_the_plan(page, qtbot):
    add_rule(page, "mamba", "Q8_0")
    settle(page, qtbot)
    assert "no tensor mamba" in page.problem.text()


# ---------------------------------------------------------------- recipes


def test_every_preset_is_in_the_menu_and_can_be_chosen(page, qtbot):
    page.gguf.pane.recipes.fill()
    words = [action.text() for action in page.gguf.pane.recipes.menu.actions()]
    for recipe in presets():
        assert any(recipe.name in word for word in words)
        page.gguf.pane.load(recipe)
        assert page.gguf.pane.targets == tuple(name for name in page.gguf.pane.cards.cards if name in recipe.targets)
        assert page.gguf.pane.recipe().options.model_copy(update={"target": ""}) == recipe.options.model_copy(
            update={"target": ""}
        )
        assert page.gguf.pane.recipes.choose_button.text() == recipe.name.replace("&", "&&")
    settle(page, qtbot)


def test_a_change_after_a_recipe_is_said(page, qtbot):
    page.gguf.pane.load(find_recipe("embeddings-high"))
    settle(page, qtbot)
    assert types_of(page.plan)["token_embd.weight"] == "Q8_0"
    page.gguf.pane.pure.setChecked(True)
    assert page.gguf.pane.recipes.choose_button.text().endswith("(changed)")


def test_what_is_chosen_is_saved_as_a_recipe(page, qtbot):
    choose(page, qtbot, "Q5_K_M", "Q8_0")
    add_rule(page, "ffn_down", "Q8_0")
    part(page, QComboBox, "fit").setCurrentIndex(1)
    page.gguf.pane.pure.setChecked(True)
    part(page, QAbstractButton, "save_recipe").click()
    assert not part(page, QAbstractButton, "write_recipe").isEnabled()
    part(page, QLineEdit, "recipe_name").setText("My mix")
    part(page, QLineEdit, "recipe_words").setText("For a test.")
    part(page, QAbstractButton, "write_recipe").click()
    assert [path.stem for path in own_paths()] == ["my-mix"]
    saved = find_recipe("my-mix")
    assert (saved.name, saved.description, set(saved.targets)) == ("My mix", "For a test.", {"Q5_K_M", "Q8_0"})
    assert (saved.options.fit, saved.options.pure) == ("best", True)
    assert saved.options.overrides == (Override(tensor="ffn_down", type="Q8_0"),)
    page.gguf.pane.load(find_recipe("balanced-4bit"))
    page.gguf.pane.load(saved)
    assert page.gguf.pane.recipe().options == saved.options
    page.gguf.pane.recipes.fill()
    assert any("My mix" in action.text() for action in page.gguf.pane.recipes.menu.actions())


def test_a_faulty_recipe_file_says_what_is_wrong(page, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "x"\ndescription = "y"\ntargets = ["Q9"]\n')
    page.gguf.pane.recipes.open_path(path)
    assert "targets: Q9 is not known" in page.gguf.pane.recipes.problem.text()


# ---------------------------------------------------------------- the rare options, and the command


def set_everything(page):
    """Every choice of the page at once, but those that exclude others."""
    add_rule(page, "attn_k", "Q8_0")
    page.table.model.override(["blk.0.ffn_up.weight"], "Q5_0")
    part(page, QComboBox, "fit").setCurrentIndex(2)
    for name, chosen in (("output_tensor_type", "Q8_0"), ("token_embedding_type", "Q6_K")):
        combo = part(page, QComboBox, name)
        combo.setCurrentIndex(combo.findData(chosen))
    for name in ("pure", "leave_output_tensor", "keep_unquantized", "strict"):
        part(page, QCheckBox, name).setChecked(True)
    part(page, QLineEdit, "include_weights").setText("attn ffn_up")
    part(page, QLineEdit, "exclude_weights").setText("attn_k")
    files = part(page, QComboBox, "files")
    files.setCurrentIndex(files.findData("size"))
    part(page, QLineEdit, "split_max_size").setText("1.5M")
    part(page, QLineEdit, "prune_layers").setText("1")
    part(page, QPlainTextEdit, "override_kv").setPlainText(
        "general.name=str:A name, with = and 'quotes'\ngeneral.quantized=bool:true\n"
    )


@pytest.mark.parametrize("targets", [("Q4_0",), ("Q4_0", "Q8_0")])
def test_the_copied_command_asks_for_exactly_the_same_job(page, qtbot, targets):
    page.context.settings.set("threads", 1)
    choose(page, qtbot, *targets)
    set_everything(page)
    page.gguf.pane.changed.emit()
    settle(page, qtbot)
    job = page.jobs()[-1]
    assert isinstance(job, QuantizeManyJob if len(targets) > 1 else QuantizeJob)
    options = job.options
    assert (options.fit, options.split_max_bytes, options.include_weights) == (
        "reference",
        1_500_000,
        ("attn", "ffn_up"),
    )
    assert options.prune_layers == (1,)
    assert options.override_kv[0] == KeyOverride(key="general.name", type="str", value="A name, with = and 'quotes'")
    assert all((options.pure, options.leave_output_tensor, options.keep_unquantized, options.strict))
    assert job_of_command(page) == job


def test_the_copied_command_of_plain_choices_is_the_same_job(page, qtbot, tmp_path):
    assert job_of_command(page) == page.jobs()[-1]
    assert page.jobs()[-1].options.gptq is None
    without = page.plan
    part(page, QAbstractButton, "solve_gptq").click()
    (tmp_path / "a text.txt").write_text("words " * 100)
    page.gguf.pane.gptq.text.set_text((str(tmp_path / "a text.txt"),))
    settle(page, qtbot)
    assert page.plan.memory_bytes > without.memory_bytes, "the plan is that of layers solved with a text"
    assert page.jobs()[-1].options.gptq == GptqOptions(text=(str(tmp_path / "a text.txt"),))
    assert job_of_command(page) == page.jobs()[-1]
    pane = page.gguf.pane
    part(page, QAbstractButton, "more_gptq").click()
    assert pane.gptq.settings.isVisible()
    assert set(pane.gptq.form.editors) == set(GptqOptions.model_fields) - {"text"}, "every setting has a place"
    wanted = {"act_order": "off", "damp": 0.05, "sinks": 8, "target": 0.5, "passes": 0, "samples": 16, "length": 64}
    pane.gptq.form.set_values(wanted)
    pane.gptq.changed.emit()
    settle(page, qtbot)
    assert pane.tabs.tabText(2) == "Advanced (7)"
    assert page.jobs()[-1].options.gptq.model_dump(exclude={"text"}) == wanted
    assert job_of_command(page) == page.jobs()[-1]
    part(page, QAbstractButton, "solve_gptq").click()
    assert not pane.gptq.settings.isVisible()
    assert page.jobs()[-1].options.gptq is None


def test_a_copy_is_a_type_like_others(page, qtbot):
    choose(page, qtbot, "COPY")
    assert {row.source_type == row.target_type for row in page.plan.tensors} == {True}
    assert job_of_command(page) == page.jobs()[-1]
    assert "0.00" not in page.gguf.pane.cards.cards["COPY"].accessibleDescription()


def test_faulty_options_are_said_where_they_are(page, qtbot):
    files = part(page, QComboBox, "files")
    files.setCurrentIndex(files.findData("size"))
    part(page, QLineEdit, "split_max_size").setText("much")
    page.gguf.pane.advanced._typed()
    assert "much is no size" in page.gguf.pane.advanced.note.text()
    page.gguf.pane.changed.emit()
    settle(page, qtbot)
    assert not page.button.isEnabled()
    files.setCurrentIndex(files.findData("keep"))
    assert page.gguf.options.keep_split
    layers = part(page, QLineEdit, "prune_layers")
    for wrong in ("1-3", "one", ",", "-1", "99999999999"):
        layers.setText(wrong)
        page.gguf.pane.advanced._typed()
        assert f"{wrong} is no list of layer numbers" in page.gguf.pane.advanced.note.text()
    layers.setText(" 1, 0,1")
    page.gguf.pane.advanced._typed()
    assert page.gguf.pane.advanced.note.text() == ""
    assert page.gguf.options.prune_layers == (0, 1)
    page.gguf.pane.forget()
    assert page.gguf.options.prune_layers == ()
    part(page, QPlainTextEdit, "override_kv").setPlainText("nonsense")
    assert "not of the form KEY=TYPE:VALUE" in page.gguf.pane.advanced.note.text()


def test_the_tabs_are_reached_by_keyboard(page, qtbot):
    page.gguf.pane.tabs.setFocus()
    for at in (1, 2):
        qtbot.keyClick(page.gguf.pane.tabs, Qt.Key.Key_Right)
        assert page.gguf.pane.tabs.currentIndex() == at
    assert part(page, QCheckBox, "strict").isVisible()


# ---------------------------------------------------------------- an importance matrix to be computed


def test_an_importance_matrix_is_computed_first_and_kept(page, qtbot, small):
    page.gguf.pane.imatrix.set_text(())
    choose(page, qtbot, "IQ2_XXS")
    assert page.problem.isHidden()
    assert any(row.weighted for row in page.plan.tensors)
    assert "computed first" in page.preview.text()
    asked = []
    page.job_requested.connect(asked.append)
    page.button.click()
    first, second = asked
    assert isinstance(first, ImatrixJob)
    assert (first.source, first.text) == (small, ())
    assert second.options.imatrix == first.output
    assert Path(first.output).parent.is_dir()
    # While it waits in the queue it is not asked for again; once it is there, it is used.
    page.context.store.add(first)
    page.button.click()
    assert [type(job) for job in asked[2:]] == [QuantizeJob]
    Path(first.output).touch()
    assert page.jobs() == (page.jobs()[-1],)


def test_the_command_computes_the_importance_matrix_first(page, qtbot, tmp_path):
    text = tmp_path / "my text.txt"
    text.write_text("words " * 100)
    page.gguf.pane.imatrix.set_text((str(text),))
    settle(page, qtbot)
    first, second = page.jobs()
    part(page, QAbstractButton, "copy_command").click()
    one, other = (shlex.split(command) for command in QGuiApplication.clipboard().text().split(" && "))
    asked = cli.make_parser().parse_args(one[2:])
    assert cli_imatrix.asked_imatrix(asked) == first
    assert cli_quantize.asked_quantization(cli.make_parser().parse_args(other[2:])) == second


def test_another_text_or_a_changed_model_is_another_matrix(tmp_path):
    model, text = tmp_path / "m.gguf", tmp_path / "t.txt"
    model.write_bytes(b"1")
    text.write_bytes(b"1")
    paths = {actions.imatrix_path(str(model), each) for each in ((), (str(text),))}
    text.write_bytes(b"22")
    paths.add(actions.imatrix_path(str(model), (str(text),)))
    model.write_bytes(b"22")
    paths.add(actions.imatrix_path(str(model), ()))
    assert len(paths) == 4


def test_without_its_importance_matrix_a_quantization_fails_and_says_so(context, qtbot, tmp_path):
    missing = str(tmp_path / "gone.gguf")
    first = ImatrixJob(source=missing, output=str(tmp_path / "i.gguf"))
    options = QuantizeOptions(target="IQ2_XXS", imatrix=first.output)
    waiting = (
        context.store.add(first),
        context.store.add(QuantizeJob(source=missing, output=str(tmp_path / "o.gguf"), options=options)),
    )
    context.jobs.resume()
    qtbot.waitUntil(lambda: all(context.store.get(each).state == "failed" for each in waiting), timeout=WAIT)
    assert context.store.get(waiting[1]).error.kind == "ImatrixNotComputed"
