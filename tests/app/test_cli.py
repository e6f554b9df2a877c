"""The command line: answers for people and programs, where files go, the history, and what is never imported."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app import cli, cli_quantize, cli_text
from core.jobs import RESULT_TYPES, ImatrixJob, ImatrixResult, QuantizeJob, QuantizeOptions, QuantizeResult
from core.progress import Snapshot
from core.store import Store
from tests.app.evaluations import add_evaluation, make_evaluation
from tests.app.values import add_finished, make_result
from tests.core import hf_families
from tests.core.small_models import small_model
from tests.end2end.command import ROOT, run


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("cli") / "Small-F16.gguf")


@pytest.fixture
def call(capfd):
    """Runs a command in this process; returns its exit code, standard output and standard error."""

    def called(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return called


# ---------------------------------------------------------------- the whole way, on the real sample


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """The sample quantized to Q4_K_M by the real command."""
    from core.catalog import sample_path

    folder = tmp_path_factory.mktemp("quantized")
    words = ("quantize", sample_path(), "--to", "Q4_K_M", "--allow-requantize", "--out", folder / "x.gguf", "--json")
    ran = run(*words, BITWRIGHT_DATA_DIR=str(folder / "data"))
    assert ran.code == 0, ran.err
    return ran


def test_types_equal_those_of_llama_quantize(quantized):
    from tests.core.test_policy import expected

    tensors = quantized.value["tensors"]
    assert len(tensors) == 272
    assert {t["name"]: t["type"] for t in tensors} == {t["name"]: expected("Q4_K_M", t["name"]) for t in tensors}


def test_json_answer_of_quantize_is_complete_and_true(quantized):
    result = QuantizeResult.model_validate(quantized.value)
    assert result.bytes == Path(result.output).stat().st_size
    assert result.peak_memory_bytes == pytest.approx(quantized.peak_bytes, rel=0.2)
    assert result.seconds > 0
    assert all(tensor.rmse >= 0 and tensor.reason for tensor in result.tensors)
    assert 20 < result.total.snr_db < 40


def test_the_result_answers_paris(quantized):
    words = ("--prompt", "The capital of France is", "--temperature", "0", "--max-tokens", "24", "--json")
    ran = run("chat", quantized.value["output"], *words)
    assert ran.code == 0, ran.err
    assert "Paris" in ran.value["turns"][0]["text"]


def test_verify_and_compare_agree_with_it(quantized, sample):
    verified = run("verify", quantized.value["output"], "--json").value
    assert verified["sha256"] == quantized.value["sha256"]
    assert verified["types"] == {"Q8_0": 15, "F32": 61, "Q6_K": 14, "Q5_0": 166, "Q4_K": 16}
    compared = run("compare", sample, quantized.value["output"], "--json").value
    assert compared["total"]["rmse"] == pytest.approx(quantized.value["total"]["rmse"])


# ---------------------------------------------------------------- importance


@pytest.fixture(scope="module")
def tiny_mixture(tmp_path_factory):
    return hf_families.build("qwen3moe", tmp_path_factory.mktemp("mixture") / "tiny")


def test_an_importance_matrix_is_computed_and_its_coverage_shown(call, tiny_mixture, tmp_path):
    words = ("imatrix", tiny_mixture, "--text", ROOT / "LICENSE", "--context", 64, "--chunks", 2, "--out", tmp_path)
    code, out, err = call(*words, "--json")
    assert (code, err) == (0, "")
    result = ImatrixResult.model_validate_json(out)
    assert Path(result.output) == tmp_path / "tiny.imatrix.gguf"
    shown = call(*words)[1]
    assert "blk.1.ffn_down_exps.weight" in shown
    assert "2 windows of 64 tokens" in shown
    assert "note: " in shown


def test_quantize_computes_importance_when_asked_and_only_once(call, tmp_path, monkeypatch):
    folder = hf_families.build("llama-tied", tmp_path / "tiny")
    monkeypatch.setenv("BITWRIGHT_DATA_DIR", str(tmp_path / "data"))
    asked = []
    monkeypatch.setattr("app.cli_importance.ImatrixJob", lambda **values: asked.append(1) or short_job(values))
    words = ("--imatrix", "compute", "--to", "Q4_0", "--json")
    first = json.loads(call("plan", folder, *words)[1])
    assert any(tensor["weighted"] for tensor in first["tensors"])
    code = call("quantize", folder, "--out", tmp_path / "q.gguf", *words)[0]
    assert (code, len(asked)) == (0, 1)
    assert len(list((tmp_path / "data" / "imatrix").iterdir())) == 1
    os.utime(folder / "config.json", ns=(1, 1))
    call("plan", folder, *words)
    assert len(asked) == 2


def short_job(values):
    """The job with windows that a tiny model can read."""
    return ImatrixJob(**values, context=64, chunks=1)


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("inspect", "{small}"), "inspect"),
        (("plan", "{small}", "--to", "q6_k", "--pure"), "plan"),
        (("quantize", "{small}", "--to", "Q8_0", "--out", "{folder}"), "quantize"),
        (("verify", "{small}"), "verify"),
        (("compare", "{small}", "{small}"), "compare"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_answers(call, small, tmp_path, words, kind, as_json):
    filled = [word.format(small=small, folder=tmp_path) for word in words]
    code, out, err = call(*filled, *(["--json"] if as_json else []))
    assert (code, err) == (0, "")
    if as_json:
        assert out.count("\n") == 1
        RESULT_TYPES[kind].model_validate_json(out)
    else:
        assert "Q8_0" in out or "F32" in out
        assert not any(line != line.rstrip() for line in out.splitlines())


def test_plan_has_the_promised_keys_and_writes_nothing(call, small):
    before = list(small.parent.iterdir())
    value = json.loads(call("plan", small, "--to", "Q4_K_M", "--json")[1])
    assert {"name", "shape", "from", "to", "bpw", "reason"} <= set(value["tensors"][0])
    assert value["bytes"] > 0
    assert list(small.parent.iterdir()) == before


def test_options_reach_the_plan(call, small):
    words = ("--tensor-type", "blk.0.attn_q.weight=F16", "--tensor-type", "blk.1.attn_q.weight=bf16")
    value = json.loads(call("plan", small, "--to", "Q4_K_M", *words, "--json")[1])
    types = {tensor["name"]: tensor["to"] for tensor in value["tensors"]}
    assert (types["blk.0.attn_q.weight"], types["blk.1.attn_q.weight"]) == ("F16", "BF16")
    assert types["output.weight"] == "Q6_K"
    pure = json.loads(call("plan", small, "--to", "Q4_K_M", "--pure", "--json")[1])
    assert {tensor["to"] for tensor in pure["tensors"]} == {"Q4_K", "F32"}


def test_every_option_of_types_reaches_the_plan(call, small, tmp_path):
    (tmp_path / "types.txt").write_text("ffn_up=Q5_0\n\nblk.1.ffn_up.weight=F16 ffn_up=Q8_0")
    words = ("--tensor-type-file", tmp_path / "types.txt", "--tensor-type", "attn_[qk]=q8_0")
    special = ("--output-tensor-type", "q5_1", "--token-embedding-type", "Q4_0")
    value = json.loads(call("plan", small, "--to", "Q4_K_M", *words, *special, "--json")[1])
    types = {tensor["name"]: tensor["to"] for tensor in value["tensors"]}
    assert (types["blk.0.ffn_up.weight"], types["blk.1.ffn_up.weight"]) == ("Q5_0", "F16")
    assert (types["blk.0.attn_k.weight"], types["output.weight"], types["token_embd.weight"]) == (
        "Q8_0",
        "Q5_1",
        "Q4_0",
    )
    left = json.loads(call("plan", small, "--to", "Q4_K_M", "--leave-output-tensor", "--json")[1])
    assert next(t["to"] for t in left["tensors"] if t["name"] == "output.weight") == "F32"


def test_importance_and_metadata_reach_the_file(call, small, tmp_path):
    from core.imatrix import write_imatrix
    from tests.core.small_models import importance_of, weights

    write_imatrix(tmp_path / "i.gguf", importance_of(weights()))
    words = ("--imatrix", tmp_path / "i.gguf", "--include-weights", "ffn_", "--exclude-weights", "ffn_up")
    value = json.loads(call("plan", small, "--to", "Q4_K_M", *words, "--json")[1])
    weighted = {t["name"] for t in value["tensors"] if t["weighted"]}
    assert weighted == {f"blk.{n}.ffn_{part}.weight" for n in range(2) for part in ("gate", "down")}
    keys = ("--override-kv", "general.name=str:Other: name", "--override-kv", "made.up=int:7")
    assert call("quantize", small, "--to", "IQ3_XXS", *words[:2], *keys, "--out", tmp_path / "o.gguf")[0] == 0
    metadata = {
        row["key"]: row["value"] for row in json.loads(call("inspect", tmp_path / "o.gguf", "--json")[1])["metadata"]
    }
    assert (metadata["general.name"], metadata["made.up"]) == ("Other: name", "7")
    assert metadata["quantize.imatrix.file"] == "i.gguf"


def test_a_recipe_says_what_the_options_leave_open(call, small, tmp_path):
    plan = ("plan", small, "--json", "--recipe")
    value = json.loads(call(*plan, "embeddings-high")[1])
    types = {tensor["name"]: tensor["to"] for tensor in value["tensors"]}
    assert (value["target"], types["token_embd.weight"], types["output.weight"]) == ("Q4_K_M", "Q8_0", "Q8_0")
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'name = "m"\ndescription = "d"\ntargets = ["Q8_0", "Q6_K"]\nfit = "best"\n[tensor_types]\n"attn" = "F16"\n'
    )
    plans = json.loads(call(*plan, mine)[1])["plans"]
    assert [(each["target"], each["fit"]) for each in plans] == [("Q8_0", "best"), ("Q6_K", "best")]
    own = json.loads(call(*plan, mine, "--to", "Q4_0", "--fit", "fast", "--tensor-type", "attn_v=Q5_0")[1])
    types = {tensor["name"]: tensor["to"] for tensor in own["tensors"]}
    assert (own["target"], own["fit"]) == ("Q4_0", "fast")
    assert [types[f"blk.0.{name}.weight"] for name in ("attn_v", "attn_k", "ffn_up")] == ["Q5_0", "F16", "Q4_0"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Neither --to nor --recipe"),
        (("--recipe", "balanced-4bits"), "Did you mean balanced-4bit?"),
        (("--recipe", "tiny-2bit"), "needs an importance matrix"),
        (("--recipe", "/nowhere/x.toml"), "There is no recipe /nowhere/x.toml"),
    ],
)
def test_a_recipe_that_cannot_be_used(call, small, words, told):
    code, out, err = call("plan", small, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_estimates(call, small, sample):
    code, out, err = call("estimate", sample, "--to", "Q8_0", "--allow-requantize", "--cache-type", "q8_0")
    assert (code, err) == (0, "")
    assert "After quantization, in llama.cpp at 4096 tokens" in out
    assert "to spare" in out
    words = ("estimate", sample, "--context", "0", "--gpu-layers", "4", "--split", "2,1", "--json")
    result = RESULT_TYPES["estimate"].model_validate_json(call(*words)[1])
    assert (result.after, result.now.memory.context, result.now.gpu_layers) == (None, 8192, 4)
    assert [device.kind for device in result.now.memory.devices] == ["host", "gpu", "gpu"]
    assert "weights only" in call("estimate", small)[1]
    for nonsense in (("--split", "a"), ("--split", "0"), ("--sequences", "0"), ("--cache-type", "q3")):
        code, out, err = call("estimate", small, *nonsense)
        assert (code, out, err.count("\n")) == (2, "", 1), nonsense


def test_a_dry_run_is_the_plan_and_writes_nothing(call, small, tmp_path):
    before = list(small.parent.iterdir())
    planned = json.loads(call("plan", small, "--to", "Q4_K_M", "--json")[1])
    tried = json.loads(call("quantize", small, "--to", "Q4_K_M", "--dry-run", "--json")[1])
    # What was never timed on this machine is timed by a dry run alone; what is free changes from moment to moment.
    checked, checked_again = planned.pop("preflight"), tried.pop("preflight")
    assert checked["seconds"] is None
    assert 0 < checked_again["seconds"] < 60
    assert [check["step"] for check in checked_again["checks"]] == [check["step"] for check in checked["checks"]]
    assert tried == planned
    several = json.loads(call("quantize", small, "--to", "Q8_0, q4_k_m", "--dry-run", "--json")[1])
    assert [plan["target"] for plan in several["plans"]] == ["Q8_0", "Q4_K_M"]
    assert "Q8_0" in call("quantize", small, "--to", "Q8_0", "--dry-run")[1]
    assert list(small.parent.iterdir()) == before
    assert Store().jobs() == []


def test_several_types_become_several_files_in_a_folder(call, small, tmp_path):
    code, out, err = call("quantize", small, "--to", "Q8_0,Q4_0,q8_0", "--out", tmp_path, "--json")
    assert (code, err) == (0, "")
    results = json.loads(out)["results"]
    assert [Path(result["output"]).name for result in results] == ["Small-Q8_0.gguf", "Small-Q4_0.gguf"]
    assert {path.name for path in tmp_path.glob("*.gguf")} == {"Small-Q8_0.gguf", "Small-Q4_0.gguf"}
    records = Store().jobs()
    assert sorted((record.state, record.result.target) for record in records) == [("done", "Q4_0"), ("done", "Q8_0")]
    code, _, err = call("quantize", small, "--to", "Q8_0,Q4_0", "--out", tmp_path / "x.gguf")
    assert (code, err.count("\n")) == (2, 1)
    assert "no folder" in err


@pytest.mark.parametrize(
    "words",
    [
        ("--tensor-type", "ffn_up"),
        ("--tensor-type-file", "/nowhere.txt"),
        ("--override-kv", "made.up=7"),
        ("--override-kv", "made.up=number:7"),
        ("--override-kv", "made.up=int:seven"),
        ("--imatrix", "/nowhere.gguf"),
        ("--output-tensor-type", "Q9"),
        ("--split-max-size", "2T"),
        ("--split-max-size", "0G"),
        ("--split-max-size", "2G", "--keep-split"),
        ("--to", ","),
        ("--to", "Q8_0,Q9_0"),
    ],
)
def test_arguments_that_make_no_sense_are_one_line(call, small, tmp_path, words):
    code, out, err = call("quantize", small, "--to", "Q8_0", *words, "--out", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert list(tmp_path.glob("*.gguf")) == []


def test_an_output_is_needed_unless_nothing_is_written(call, small):
    code, _, err = call("quantize", small, "--to", "Q8_0")
    assert (code, err.count("\n")) == (2, 1)
    assert "--out" in err


def test_the_command_of_a_job_makes_the_same_job():
    from core.jobs import GptqOptions, KeyOverride, Override, QuantizeOptions

    options = QuantizeOptions(
        target="Q4_K_M",
        fit="best",
        overrides=(Override(tensor="ffn_(up|down)", type="Q8_0"),),
        pure=True,
        allow_requantize=True,
        output_tensor_type="Q8_0",
        token_embedding_type="Q5_0",
        leave_output_tensor=True,
        strict=True,
        imatrix="/models/my matrix.gguf",
        include_weights=("blk",),
        exclude_weights=("ffn_up", "attn_q"),
        override_kv=(KeyOverride(key="general.name", type="str", value="A model"),),
        split_max_bytes=1_234_567_891,
        converter="/programs/llama.cpp",
        prune_layers=(0, 7),
        gptq=GptqOptions(text=("/texts/a b.txt",), samples=9, length=64, act_order="groups", damp=0.1, target=0.5),
    )
    assert {name for name, value in options if not value} == {"keep_split", "keep_unquantized"}, (
        "every other option is exercised here"
    )
    _made_again(options)
    _made_again(QuantizeOptions(target="Q8_0", keep_split=True, keep_unquantized=True))


def _made_again(options):
    from app import job_kinds
    from core.jobs import QuantizeJob

    job = QuantizeJob(source="/models/a.gguf", output="/models/b.gguf", options=options, threads=3, device="cuda")
    words = shlex.split(job_kinds.command(job))[2:]
    parsed = cli.make_parser().parse_args(words)
    assert cli.quantize_options(parsed, parsed.to) == options
    assert (parsed.source, parsed.out, parsed.threads, parsed.device) == (job.source, job.output, 3, "cuda")


def test_reasons_and_notes_are_for_people(call, sample):
    code, out, _ = call("plan", sample, "--to", "Q4_K_M")
    assert code == 0
    assert "rows of 576 are not a multiple of 256, so Q5_0" in out
    assert "Note: The source is already quantized" in out


def test_help_and_version(call, capfd):
    for words in (["--help"], ["--version"], ["quantize", "--help"]):
        with pytest.raises(SystemExit) as ended:
            call(*words)
        assert ended.value.code == 0
    out = capfd.readouterr().out
    for promised in ("inspect", "--to", "--tensor-type", "--allow-requantize", "--pure", "--threads", "--device"):
        assert promised in out


def test_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == cli.VERSION


# ---------------------------------------------------------------- where the output goes


@pytest.mark.parametrize(
    ("source", "target", "name"),
    [
        ("a/SmolLM2-135M-Instruct.Q4_1.gguf", "q4_k_m", "SmolLM2-135M-Instruct-Q4_K_M.gguf"),
        ("a/model-F16.gguf", "Q8_0", "model-Q8_0.gguf"),
        ("a/Llama-3.2-1B", "Q6_K", "Llama-3.2-1B-Q6_K.gguf"),
        ("a/weights.safetensors", "BF16", "weights-BF16.gguf"),
        ("a/Model-IQ4_XS.gguf", "Q4_0", "Model-Q4_0.gguf"),
    ],
)
def test_name_of_the_output_in_a_folder(tmp_path, source, target, name):
    assert cli_quantize.output_path(source, str(tmp_path), target) == str(tmp_path / name)


def test_output_that_is_no_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli_quantize.output_path("m.gguf", "x.gguf", "Q8_0") == str(tmp_path / "x.gguf")


# ---------------------------------------------------------------- history


def test_finished_job_is_in_the_history(call, small, tmp_path):
    call("quantize", small, "--to", "Q8_0", "--out", tmp_path / "o.gguf")
    (record,) = Store().jobs()
    assert (record.state, record.result.output) == ("done", str(tmp_path / "o.gguf"))
    code, out, _ = call("jobs")
    assert code == 0
    assert "done" in out
    listed = json.loads(call("jobs", "--json")[1])["jobs"]
    assert [(job["id"], job["state"], job["kind"]) for job in listed] == [(record.id, "done", "quantize")]


def test_the_history_is_a_report(call, tmp_path):
    page = tmp_path / "report.html"
    assert "No finished job" in call("report", "--out", page)[2]
    store = Store()
    first, second = (add_finished(store, make_result(2, f"/models/{name}.gguf")) for name in ("one", "two"))
    evaluation = add_evaluation(store, make_evaluation())
    unfinished = store.add(QuantizeJob(source="a", output="b", options=QuantizeOptions(target="Q8_0")))
    assert json.loads(call("report", "--out", page, "--json")[1]) == {
        "output": str(page),
        "runs": [first, second, evaluation],
    }
    assert "two.gguf" in page.read_text()
    assert "Models made from" in page.read_text()
    assert call("report", first, "--out", page)[1] == f"Wrote 1 result to {page}\n"
    assert "two.gguf" not in page.read_text()
    for name, why in ((unfinished, "has not ended well"), ("nonsense", "There is no job nonsense")):
        code, _, err = call("report", name, "--out", page)
        assert (code, why in err) == (2, True)
    assert call("report", "--out", tmp_path)[0] == 2


def test_bad_input_is_not_a_job(call, small, tmp_path):
    assert call("quantize", small, "--to", "nothing", "--out", tmp_path)[0] == 2
    assert Store().jobs() == []
    assert call("jobs")[1] == "No jobs yet.\n"


def test_failed_job_is_kept_with_its_reason(call, tmp_path):
    from tests.core.small_models import weights, write

    tensors = weights()
    tensors["output.weight"][0, 0] = float("nan")
    code, _, err = call("quantize", write(tmp_path / "s.gguf", tensors), "--to", "Q8_0", "--out", tmp_path / "o.gguf")
    assert code == 1
    assert "output.weight" in err
    (record,) = Store().jobs()
    assert (record.state, record.error.kind) == ("failed", "NonFiniteWeights")
    assert "NaN" in call("jobs")[1]


# ---------------------------------------------------------------- failures


def test_a_bug_is_one_line_and_its_traceback_only_with_debug(call, small, monkeypatch):
    def broken(job, progress):
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("core.engine.run", broken)
    code, out, err = call("inspect", small)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "surprise" in err
    assert "--debug" in err
    assert "Traceback" in call("inspect", small, "--debug")[2]


def test_values_out_of_range_are_bad_input(call, small):
    code, _, err = call("chat", small, "--prompt", "x", "--temperature", "-1")
    assert code == 2
    assert err == "error: --temperature cannot be -1. It must be at least 0.\n"


def test_a_reader_that_went_away_is_no_failure(small):
    command = f"'{sys.executable}' main.py inspect '{small}' | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_a_terminal_without_unicode_is_served_too(small):
    ran = run("inspect", small, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ran.code == 0, ran.err
    assert "64 ? 256" in ran.out
    assert run("inspect", small, "--json", PYTHONIOENCODING="ascii").value["parameters"] > 0


def test_chat_without_its_library_is_told(small, tmp_path):
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('no such library', name='xllamacpp')")
    ran = run("chat", small, "--prompt", "x", PYTHONPATH=str(tmp_path))
    assert ran.code == 1
    assert ran.err.startswith("error: The library xllamacpp cannot be loaded")
    assert ran.err.count("\n") == 1
    assert run("inspect", small, PYTHONPATH=str(tmp_path)).code == 0


# ---------------------------------------------------------------- lightness


@pytest.mark.parametrize("words", [["inspect"], ["plan", "--to", "Q8_0"], ["verify"]])
def test_headers_are_read_without_the_engines(small, words):
    script = (
        "import sys; from app.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'numba', 'PySide6', 'transformers', 'xllamacpp'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, words[0], str(small), *words[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_quantizing_needs_neither_torch_nor_qt(small, tmp_path):
    script = (
        "import sys; sys.modules['PySide6'] = None; from app.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    words = ["quantize", str(small), "--to", "Q4_K_M", "--out", str(tmp_path / "o.gguf")]
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


# ---------------------------------------------------------------- words


def test_tables_are_aligned():
    lines = cli_text.table(("name", "size"), [("a", "1 B"), ("long", "10 KiB")], " r").splitlines()
    assert lines == ["name    size", "----  ------", "a        1 B", "long  10 KiB"]


@pytest.mark.parametrize(("seconds", "text"), [(0.42, "0.4 s"), (80, "1 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert cli_text.duration(seconds) == text


def test_progress_in_one_line():
    snapshot = Snapshot(stage="Quantizing", done=1 << 20, total=4 << 20, rate=2 << 20, eta_s=1.5, note="blk.0")
    assert cli_text.progress_line(snapshot) == "Quantizing  25%  2.0 MiB/s  1.5 s left  blk.0"
    assert cli_text.progress_line(Snapshot(stage="Planning")) == "Planning"


def test_progress_is_shown_on_a_terminal_only(small, tmp_path):
    """With a pseudo-terminal as standard error, the line appears and is wiped; a pipe stays empty."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    command = [sys.executable, "main.py", "quantize", str(small), "--to", "Q8_0", "--out", str(tmp_path / "o.gguf")]
    subprocess.run([*command, "--json"], cwd=ROOT, stderr=follower, stdout=subprocess.DEVNULL, check=True)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert "Quantizing" in shown
    assert shown.endswith("\r")
