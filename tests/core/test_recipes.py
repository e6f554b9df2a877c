"""Recipes: every one that comes with the program is run; a faulty file is refused by file, key and what is allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core import recipes
from core.engine import run
from core.errors import ImatrixNeeded, InvalidRecipe, RecipeNeedsImatrix, UnknownRecipe
from core.jobs import Override, PlanJob, QuantizeManyJob, QuantizeOptions
from core.recipe_file import KEYS, Recipe, part_bytes, part_words, read_recipe, to_toml
from core.recipes import find_recipe, own_folder, own_paths, presets, recipe_id, save_recipe
from tests.core import mix_models

PRESETS = presets()
HEAD = 'name = "Mine"\ndescription = "For a test."\ntargets = ["Q4_K_M"]\n'


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """A dense model and a mixture of experts of two layers, each with an importance matrix."""
    folder = tmp_path_factory.mktemp("recipes")
    found = {}
    for name in ("llama-tied", "qwen3moe-4"):
        blueprint = replace(mix_models.MODELS[name], layers=2)
        path = mix_models.write_model(folder / f"{name}.gguf", blueprint)
        shapes = mix_models.shapes(blueprint)
        found[name] = (str(path), mix_models.write_importance(folder / f"{name}.imatrix", shapes))
    return found


@pytest.mark.parametrize("recipe", PRESETS, ids=lambda recipe: recipe.id)
def test_every_preset_runs(models, tmp_path, recipe):
    source, matrix = models["qwen3moe-4" if "expert" in recipe.id else "llama-tied"]
    given = QuantizeOptions(target=recipe.targets[0], imatrix="" if recipe.importance == "unused" else matrix)
    job = QuantizeManyJob(
        source=source,
        targets=recipe.targets,
        outputs=tuple(str(tmp_path / f"{target}.gguf") for target in recipe.targets),
        options=recipe.completed(given),
    )
    for target, result in zip(recipe.targets, run(job).results, strict=True):
        assert result.target == target
        for rule in recipe.options.overrides:
            assert rule.type in {tensor.type for tensor in result.tensors}


@pytest.mark.parametrize("recipe", [each for each in PRESETS if "expert" not in each.id], ids=lambda each: each.id)
def test_every_preset_suits_rows_that_fit_few_types(sample, recipe):
    given = QuantizeOptions(target=recipe.targets[0], imatrix="later.gguf")
    options = recipe.completed(given).model_copy(update={"imatrix": ""})
    try:
        planned = run(PlanJob(source=str(sample), options=options))
    except ImatrixNeeded:
        assert recipe.importance == "required"
    else:
        assert all(any(row.rule == rule.tensor for row in planned.tensors) for rule in recipe.options.overrides)


@pytest.mark.parametrize("recipe", PRESETS, ids=lambda recipe: recipe.id)
def test_writing_a_preset_and_reading_it_gives_the_same(tmp_path, recipe):
    path = tmp_path / f"{recipe.id}.toml"
    path.write_text(to_toml(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe


def test_presets_have_words_and_names_of_their_own():
    assert len({recipe.name for recipe in PRESETS}) == len(PRESETS)
    assert all(len(recipe.description) > 40 for recipe in PRESETS)


WHOLE = Recipe(
    id="whole",
    name='Signs "quoted" \\ ünïcödé 🚀',
    description="Every key.\nTwo lines.",
    targets=("Q4_K_M", "IQ2_XXS"),
    options=QuantizeOptions(
        target="Q4_K_M",
        fit="best",
        overrides=(Override(tensor=r"blk\.(0|1)\.attn_v", type="Q6_K"), Override(tensor="ffn_down", type="Q8_0")),
        output_tensor_type="Q6_K",
        token_embedding_type="Q8_0",
        leave_output_tensor=True,
        pure=True,
        strict=True,
        include_weights=("attn", "ffn"),
        exclude_weights=("output",),
        split_max_bytes=1_500_000_000,
    ),
    importance="required",
)


def test_every_key_is_written_and_read(tmp_path):
    path = tmp_path / "whole.toml"
    path.write_text(to_toml(WHOLE), encoding="utf-8")
    assert read_recipe(path) == WHOLE
    assert [key.name for key in KEYS if key.name not in path.read_text(encoding="utf-8")] == ["keep_split"]


def test_rules_keep_their_order(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(HEAD + '[tensor_types]\n"b" = "q8_0"\n"a" = "q6_k"\n', encoding="utf-8")
    assert read_recipe(path).options.overrides == (
        Override(tensor="b", type="Q8_0"),
        Override(tensor="a", type="Q6_K"),
    )


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        (HEAD + "outputt = 1\n", "outputt", "there is no such key"),
        (HEAD + "tensor_type = 1\n", "tensor_type", "Did you mean tensor_types?"),
        (HEAD + 'fit = "slow"\n', "fit", "one of reference, fast, best"),
        (HEAD + 'imatrix = "x.gguf"\n', "imatrix", "one of required, recommended, unused"),
        (HEAD + 'output_tensor_type = "Q9_K"\n', "output_tensor_type", "one of F32"),
        (HEAD + "token_embedding_type = 4\n", "token_embedding_type", "4 is no text"),
        (HEAD + 'pure = "yes"\n', "pure", "true or false"),
        (HEAD + 'include_weights = "attn"\n', "include_weights", "a list of parts"),
        (HEAD + 'split_max_size = "2 crates"\n', "split_max_size", "a size such as 500M or 2G"),
        (HEAD + 'split_max_size = "2G"\nkeep_split = true\n', "keep_split", "contradicts"),
        (HEAD + '[tensor_types]\n"attn_(v" = "Q6_K"\n', "tensor_types", "attn_(v is no regular expression"),
        (HEAD + '[tensor_types]\n"attn_v" = "Q6_L"\n', "tensor_types", "Q6_L is not known. Did you mean Q6_K?"),
        (HEAD + "tensor_types = []\n", "tensor_types", "a table of regular expressions"),
        (HEAD.replace("Q4_K_M", "Q4_K_X"), "targets", "Q4_K_X is not known"),
        (HEAD.replace('["Q4_K_M"]', "[]"), "targets", "is no list of texts"),
        (HEAD.replace('name = "Mine"\n', ""), "name", "it is missing"),
        (HEAD.replace('"Mine"', '" "'), "name", "is no text"),
        ("targets = [", "", "Write it as TOML"),
        ("\0", "", "TOML"),
    ],
)
def test_faults_name_file_key_and_what_is_allowed(tmp_path, text, key, told):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRecipe) as caught:
        read_recipe(path)
    assert str(path) in caught.value.what
    assert caught.value.why.startswith(key)
    assert told in caught.value.line
    assert caught.value.remedy


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRecipe):
        read_recipe(path)
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(InvalidRecipe, match="too large"):
        read_recipe(path)


def test_recipes_are_found_by_id_and_by_path(tmp_path):
    assert find_recipe("balanced-4bit").targets == ("Q4_K_M",)
    path = tmp_path / "mine.toml"
    path.write_text(HEAD, encoding="utf-8")
    assert find_recipe(str(path)).name == "Mine"
    with pytest.raises(UnknownRecipe, match=r"balanced-4bit"):
        find_recipe("balanced-4bits")
    with pytest.raises(UnknownRecipe):
        find_recipe(str(tmp_path / "absent.toml"))


def test_saving_makes_a_recipe_that_is_found(monkeypatch):
    assert own_paths() == ()
    path = save_recipe(WHOLE)
    assert own_paths() == (path,)
    assert path.parent == own_folder()
    assert find_recipe("whole") == WHOLE
    save_recipe(replace(WHOLE, description="Another."))
    assert find_recipe("whole").description == "Another."

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recipes.os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        save_recipe(WHOLE)
    assert find_recipe("whole").description == "Another."
    assert [each.name for each in own_folder().iterdir()] == ["whole.toml"]


@pytest.mark.parametrize(
    ("name", "identity"), [("My 4-bit, small!", "my-4-bit-small"), ("Änderung 2", "änderung-2"), ("///", "recipe")]
)
def test_ids(name, identity):
    assert recipe_id(name) == identity


@pytest.mark.parametrize("n_bytes", [1, 500_000_000, 2_000_000_000, 45_000_000_000, 1_234_567_891])
def test_sizes_survive_being_written(n_bytes):
    assert part_bytes(part_words(n_bytes)) == n_bytes


def test_options_given_go_before_those_of_the_recipe():
    given = QuantizeOptions(
        target="Q5_K_M",
        imatrix="m.gguf",
        output_tensor_type="F16",
        overrides=(Override(tensor="attn_k", type="Q8_0"),),
        keep_split=True,
    )
    done = WHOLE.completed(given)
    assert (done.target, done.output_tensor_type, done.token_embedding_type) == ("Q5_K_M", "F16", "Q8_0")
    assert [rule.tensor for rule in done.overrides] == ["attn_k", r"blk\.(0|1)\.attn_v", "ffn_down"]
    assert (done.keep_split, done.split_max_bytes) == (True, 0)
    with pytest.raises(RecipeNeedsImatrix, match="needs an importance matrix"):
        WHOLE.completed(QuantizeOptions(target="Q4_K_M"))


def test_a_preset_changes_the_plan(models):
    source, _ = models["llama-tied"]
    plain = QuantizeOptions(target="Q4_K_M")
    high = find_recipe("embeddings-high").completed(plain)
    types = [
        {tensor.name: tensor.target_type for tensor in run(PlanJob(source=source, options=options)).tensors}
        for options in (plain, high)
    ]
    assert [each["token_embd.weight"] for each in types] == ["Q6_K", "Q8_0"]
