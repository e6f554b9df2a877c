"""A model's page, the account in use, and the verdict for this computer."""

from __future__ import annotations

import pytest

from core import engine, errors, preflight
from core.estimate.values import Machine, RunOptions
from core.hub import fit as fit_module
from core.hub.page import type_in
from core.jobs import AccountJob, EstimateJob, FitJob, HubPageJob, Plan, PreflightJob, QuantizeOptions
from core.progress import Progress
from tests.core import hf_tiny
from tests.core.hub.conftest import TOKEN, files_of
from tests.core.small_models import small_model
from tests.hub_server import Repo


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint whose weights take more room than its header."""
    return hf_tiny.build(tmp_path_factory.mktemp("tiny") / "tiny", {"vocab_size": 4000})


def page(repo, **wanted):
    return engine.run(HubPageJob(repo=repo, **wanted))


def test_a_page_tells_what_a_quantization_needs_and_why_not_the_rest(hub):
    repo = hub.repos["owner/small"]
    repo.files["README.md"] = b"---\nlicense: mit\n---\n# Small\n\nText.\n\n---\n\nMore."
    repo.tags = ("safetensors", "license:mit", "base_model:quantized:big/one", "base_model:big/one")
    repo.names = {"v1": "a" * 40}
    found = page("owner/small")
    assert found.card == "# Small\n\nText.\n\n---\n\nMore."
    skipped = {file.name: file.skipped for file in found.files}
    assert skipped["pytorch_model.bin"] == "the same weights, pickled"
    assert skipped["onnx/model.onnx"] == "weights for ONNX"
    assert skipped["model.safetensors"] == ""
    assert found.needed_bytes == sum(file.bytes for file in found.files if not file.skipped) < found.bytes
    assert [(one.name, one.kind) for one in found.revisions] == [("main", "branch"), ("v1", "tag")]
    assert (found.access, found.model.license, found.model.base, found.problem) == ("open", "mit", ("big/one",), "")
    assert found.url == f"{hub.endpoint}/owner/small"


def test_several_gguf_models_are_variants_and_parts_belong_together(hub):
    names = (
        "m-Q8_0-00001-of-00002.gguf",
        "m-Q8_0-00002-of-00002.gguf",
        "m.IQ4_XS.gguf",
        "mmproj-m.gguf",
        "imatrix.gguf",
    )
    hub.repos["owner/quants"] = Repo(dict.fromkeys(names, b"x" * 10))
    found = page("owner/quants")
    assert [(one.type, one.bytes, one.include) for one in found.variants] == [
        ("Q8_0", 20, names[:2]),
        ("IQ4_XS", 10, names[2:3]),
    ]
    assert [file.variant for file in found.files] == [names[0], names[0], names[2], "", ""]
    assert found.needed_bytes == 20
    assert found.model.formats == ("gguf",)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a-Q4_K_M.gguf", "Q4_K_M"),
        ("a.iq2_xxs.gguf", "IQ2_XXS"),
        ("Q8-bot.gguf", ""),
        ("x-BF16-00001-of-00002.gguf", "BF16"),
    ],
)
def test_the_type_in_a_name(name, found):
    assert type_in(name) == found


def test_a_gated_page_says_whether_access_was_given(hub, monkeypatch):
    asked = page("owner/gated")
    assert (asked.access, asked.card) == ("ask", "")
    assert asked.files
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    given = page("owner/gated")
    assert (given.access, given.card) == ("granted", "# Größe")


def test_a_page_without_weights_says_so(hub):
    hub.repos["owner/code"] = Repo({"README.md": b"# Code", "a.py": b"1"})
    assert "no weights" in page("owner/code").problem


def test_what_is_here_is_marked(hub):
    from core.hub.download import download
    from core.jobs import DownloadJob
    from core.progress import Progress
    from tests.core.hub.conftest import MANNERS

    download(DownloadJob(repo="owner/small", include=("config.json",)), Progress(), MANNERS)
    assert [file.name for file in page("owner/small").files if file.here] == ["config.json"]


def test_the_account(hub, monkeypatch):
    assert engine.run(AccountJob()).source == ""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    found = engine.run(AccountJob())
    assert (found.source, found.name, found.may_write, found.owners) == ("environment", "me", True, ("me", "our-lab"))
    assert TOKEN not in found.model_dump_json()
    hub.readers.add(TOKEN)
    assert engine.run(AccountJob()).may_write is False
    hub.tokens.clear()
    with pytest.raises(errors.HubTokenRefused):
        engine.run(AccountJob())


def test_a_checkpoint_fits_as_it_is_or_quantized(hub, tiny, monkeypatch):
    hub.repos["owner/tiny"] = Repo(files_of(tiny))
    found = engine.run(FitJob(repo="owner/tiny", run=RunOptions(context=128)))
    assert (found.best, found.words, found.level) == ("as it is", "Fits", "fits")
    exact = engine.run(
        EstimateJob(source="hub:owner/tiny", run=RunOptions(context=128), options=QuantizeOptions(target="Q8_0"))
    )
    guess = next(form for form in found.forms if form.type == "Q8_0")
    assert guess.estimated
    assert guess.weights == pytest.approx(exact.after.facts.weight_bytes, rel=0.25)
    small = Machine(total=1 << 40, free=guess.total + 10)
    monkeypatch.setattr(fit_module, "read_machine", lambda: small)
    found = engine.run(FitJob(repo="owner/tiny", run=RunOptions(context=128)))
    assert (found.best, found.words, found.forms[0].verdict.level) == ("Q8_0", "Just fits at Q8_0", "not")
    monkeypatch.setattr(fit_module, "read_machine", lambda: Machine(total=1 << 40, free=0))
    assert engine.run(FitJob(repo="owner/tiny")).words == "Does not fit"


def test_of_many_gguf_files_one_header_is_read(hub, tmp_path):
    small, large = small_model(tmp_path / "a.gguf"), small_model(tmp_path / "b.gguf", width=512)
    hub.repos["owner/quants"] = Repo({"m-Q8_0.gguf": large.read_bytes(), "m-Q4_0.gguf": small.read_bytes()})
    found = engine.run(FitJob(repo="owner/quants"))
    assert [(form.name, form.estimated) for form in found.forms] == [("m-Q8_0.gguf", True), ("m-Q4_0.gguf", False)]
    assert {request.path.partition("?")[0] for request in hub.contents("cdn")} == {"/owner/quants/m-Q4_0.gguf"}
    assert found.best == "m-Q8_0.gguf"


PLAN = Plan(
    source="hub:owner/gated",
    architecture="llama",
    target="Q8_0",
    tensors=(),
    source_bytes=1,
    bytes=1,
    bits_per_weight=8,
    memory_bytes=1,
)


def test_a_preflight_says_what_the_hub_says(hub, tmp_path, monkeypatch):
    def gate() -> list[tuple[str, str]]:
        job = PreflightJob(
            source="hub:owner/gated", output=str(tmp_path / "o.gguf"), options=QuantizeOptions(target="Q8_0")
        )
        monkeypatch.setattr(preflight, "plan", lambda job, progress: PLAN)
        found = preflight.preflight(job, Progress())
        assert any("to be downloaded" in check.cause for check in found.checks)
        return [(check.level, check.fix) for check in found.checks if check.step == "licence"][1:]

    ((level, fix),) = gate()
    assert (level, "accept the conditions" in fix) == ("error", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ((level, fix),) = gate()
    assert (level, "owner/gated" in fix) == ("risk", True)
