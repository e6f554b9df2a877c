"""The token that the user entered, in the keyring of the system and nowhere else. Light.

A call may take seconds: the system may ask the user to unlock the keyring. So the window makes it in a thread. The
token belongs to one address of the Hub, and is never written, logged or put into a job.
"""

from __future__ import annotations

import os
import time
from typing import Any

from core.errors import KeyringMissing, NotAToken
from core.hub.address import endpoint

SERVICE = "Bitwright"
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
KEPT_FOR_S = 20.0
LONGEST = 4096
# A keyring below this priority keeps what it is given in a plain file, or nowhere.
LEAST_PRIORITY = 1
# Per address: the token and until when it is believed without asking the keyring again.
_known: dict[str, tuple[str, float]] = {}


def environment_token() -> str:
    """The token in the variables that all Hugging Face programs read, or ''."""
    values = ((os.environ.get(name) or "").strip() for name in VARIABLES)
    return next((value for value in values if value), "")


def kept_token() -> str:
    """The token that was entered for the present Hub, '' where there is none or no keyring."""
    place = endpoint()
    token, until = _known.get(place, ("", 0.0))
    if time.monotonic() < until:
        return token
    try:
        token = _keyring().get_password(SERVICE, place) or ""
    except Exception:  # whatever a keyring's own code does, public models can be had without it
        token = ""
    _known[place] = (token, time.monotonic() + KEPT_FOR_S)
    return token


def keep_token(token: str) -> None:
    """Keeps a token in the keyring, in the place of an earlier one. Raises NotAToken and KeyringMissing."""
    token = token.strip()
    if not token or len(token) > LONGEST or not all(33 <= ord(letter) < 127 for letter in token):
        raise NotAToken
    place = endpoint()
    try:
        keyring = _keyring()
        keyring.set_password(SERVICE, place, token)
        is_kept = keyring.get_password(SERVICE, place) == token
    except KeyringMissing:
        raise
    except Exception as error:
        raise KeyringMissing(_words(error)) from None
    if not is_kept:
        raise KeyringMissing("it does not give back what it was given")
    forget_what_is_known()


def forget_token() -> None:
    """Takes the token out of the keyring, where there is one. Raises KeyringMissing."""
    forget_what_is_known()
    try:
        keyring = _keyring()
        if keyring.get_password(SERVICE, endpoint()) is not None:
            keyring.delete_password(SERVICE, endpoint())
    except KeyringMissing:
        raise
    except Exception as error:
        raise KeyringMissing(_words(error)) from None


def forget_what_is_known() -> None:
    """The next question goes to the keyring itself, as after the Hub has refused a token."""
    _known.clear()


def keyring_problem() -> str:
    """Why no token can be kept on this computer, '' where one can."""
    try:
        _keyring()
    except KeyringMissing as missing:
        return missing.why
    return ""


def _keyring() -> Any:
    """The system's keyring. Raises KeyringMissing for one that is none, or keeps plain files."""
    try:
        import keyring.backends.chainer
        import keyring.core

        chosen: Any = keyring.core.get_keyring()
        members = chosen.backends if isinstance(chosen, keyring.backends.chainer.ChainerBackend) else [chosen]
        safe = [one for one in members if one.priority >= LEAST_PRIORITY and "keyrings.alt" not in type(one).__module__]
    except Exception as error:
        raise KeyringMissing(_words(error)) from None
    if not safe:
        raise KeyringMissing("no service that keeps secrets answers (Secret Service, KWallet, Keychain)")
    return safe[0]


def _words(error: Exception) -> str:
    """A keyring's failure without its details, which may hold anything."""
    return f"it fails ({type(error).__name__})"
