"""Whose token is in use, as the Hub says; the token itself appears in no answer."""

from __future__ import annotations

from typing import Any

from core.hub.address import endpoint
from core.hub.client import as_json, ask, token_in_use
from core.jobs import AccountJob, AccountResult
from core.progress import Progress

_MAY_WRITE = {"read": False, "write": True}


def account(job: AccountJob, progress: Progress) -> AccountResult:
    """The answer of AccountJob. Raises HubTokenRefused for a token that is not valid, and what client.ask raises."""
    progress.stage("Asking the Hub")
    _, source = token_in_use()
    if not source:
        return AccountResult(endpoint=endpoint(), source="")
    url = f"{endpoint()}/api/whoami-v2"
    said = as_json(ask(url, {}, "", "Your account", progress), dict)
    name = str(said.get("name") or "")
    owners = [str(org["name"]) for org in said.get("orgs") or [] if isinstance(org, dict) and org.get("name")]
    return AccountResult(
        endpoint=endpoint(),
        source=source,
        name=name,
        may_write=_MAY_WRITE.get(_role(said)),
        owners=(name, *owners) if name else tuple(owners),
    )


def _role(said: dict[str, Any]) -> str:
    """'read', 'write', or what the Hub calls a token with rights of its own."""
    token = (said.get("auth") or {}).get("accessToken") or {}
    return str(token.get("role") or "")
