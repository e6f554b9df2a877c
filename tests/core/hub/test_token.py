"""Where the token comes from, where it is kept, and to whom it is given."""

from __future__ import annotations

import keyring
import pytest

from core import engine, errors
from core.hub import client, token
from core.jobs import SearchJob
from tests.core.hub.conftest import TOKEN, MemoryKeyring, own_keyring


@pytest.fixture
def home(hub, tmp_path, monkeypatch):
    """The client's own login is that of this folder."""
    place = tmp_path / "token"
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(place))
    return place


def test_the_environment_comes_first_then_what_was_entered_then_the_clients_login(hub, home, monkeypatch):
    assert client.token_in_use() == ("", "")
    home.write_text("hf_login")
    assert client.token_in_use() == ("hf_login", "login")
    with own_keyring():
        token.keep_token(f"  {TOKEN}\n")
        assert client.token_in_use() == (TOKEN, "keyring")
        monkeypatch.setenv("HF_TOKEN", "hf_environment")
        assert client.token_in_use() == ("hf_environment", "environment")
        monkeypatch.delenv("HF_TOKEN")
        token.forget_token()
        token.forget_token()
        assert client.token_in_use() == ("hf_login", "login")


def test_a_token_is_kept_for_one_hub_alone(hub, home, monkeypatch):
    with own_keyring():
        token.keep_token(TOKEN)
        engine.run(SearchJob(query="small"))
        assert {request.authorization for request in hub.log} == {f"Bearer {TOKEN}"}
        monkeypatch.setenv("HF_ENDPOINT", hub.other_host)
        assert token.kept_token() == ""


def test_a_new_token_counts_once_the_old_one_was_refused(hub, home):
    with own_keyring() as keys:
        token.keep_token("hf_old")
        with pytest.raises(errors.HubTokenRefused):
            engine.run(SearchJob(query="gated"))
        keys.set_password(token.SERVICE, hub.endpoint, TOKEN)  # as another process of ours would
        assert engine.run(SearchJob(query="gated")).models


@pytest.mark.parametrize("text", ["", "   ", "two words", "hf_ü", "x" * 5000, "a\nb"])
def test_what_is_no_token(text):
    with own_keyring() as keys:
        with pytest.raises(errors.NotAToken) as caught:
            token.keep_token(text)
        assert not text.strip() or text not in caught.value.line
        assert not keys.secrets


class Forgetful(MemoryKeyring):
    """Takes everything and keeps nothing."""

    def get_password(self, service: str, username: str) -> str | None:
        return None


class Plain(MemoryKeyring):
    """Keeps its secrets where everybody can read them."""

    priority = 0.5


class Locked(MemoryKeyring):
    """The user did not unlock it."""

    def get_password(self, service: str, username: str) -> str | None:
        raise RuntimeError(f"locked, {TOKEN}")

    set_password = get_password


@pytest.mark.parametrize("kind", [Forgetful, Plain, Locked, None])
def test_a_keyring_that_keeps_no_secrets_is_named_and_reading_goes_on_without(hub, home, kind):
    with own_keyring():
        keyring.set_keyring(kind() if kind else keyring.backends.fail.Keyring())
        with pytest.raises(errors.KeyringMissing, match="HF_TOKEN") as caught:
            token.keep_token(TOKEN)
        assert TOKEN not in caught.value.line
        assert bool(token.keyring_problem()) == (kind in (Plain, None))
        assert engine.run(SearchJob(query="small")).models
