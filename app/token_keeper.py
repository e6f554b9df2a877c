"""The Hub's token between Settings and the system's keyring: kept, removed, and whose it is; never shown or stored.

A keyring may take seconds, so it is spoken to in a thread of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.questions import Questions
from core.errors import BitwrightError, ErrorReport
from core.hub.address import endpoint
from core.hub.token import environment_token, forget_token, keep_token, kept_token, keyring_problem
from core.jobs import AccountJob, AccountResult, TokenSource, Value


class TokenKeeper(QObject):
    """changed: what is known of the token is another. accepted: another token is in use from now on."""

    changed = Signal()
    accepted = Signal()
    _done = Signal(object)
    _looked = Signal(object)

    def __init__(self, questions: Questions, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._questions = questions
        self.account: AccountResult | None = None
        self.error: ErrorReport | None = None
        self.keyring_problem = ""
        self.is_busy = False
        self._done.connect(self._settle)
        self._looked.connect(self._take_look)

    def look(self) -> None:
        """Looks which token is in use, and whether the system can keep one; the Hub is not asked."""
        self._run(lambda: self._looked.emit((_source(), keyring_problem())))

    def check(self) -> None:
        """Asks the Hub whose token is in use."""
        self._set_busy()
        self._questions.ask(AccountJob(), self._take, self._fail, owner=self)

    def keep(self, token: str) -> None:
        """Keeps a token in the keyring, and asks the Hub whose it is."""
        self._set_busy()
        self._run(lambda: self._finish(lambda: keep_token(token)))

    def forget(self) -> None:
        """Takes the token out of the keyring."""
        self._set_busy()
        self._run(lambda: self._finish(forget_token))

    def _finish(self, deed: Callable[[], None]) -> None:
        """In the thread: the deed, and how it ended."""
        try:
            deed()
        except BitwrightError as error:
            self._done.emit(ErrorReport.of(error))
        else:
            self._done.emit(None)

    def _settle(self, report: ErrorReport | None) -> None:
        if report is not None:
            self._fail(report)
            return
        # The worker remembers for a while what the keyring said; a new one asks it anew.
        self._questions.renew()
        self.accepted.emit()
        self.check()

    def _take_look(self, found: tuple[TokenSource, str]) -> None:
        source, self.keyring_problem = found
        if self.account is None or self.account.source != source:
            self.account = AccountResult(endpoint=endpoint(), source=source)
        self.changed.emit()

    def _take(self, answer: Value) -> None:
        assert isinstance(answer, AccountResult)
        self.account, self.error, self.is_busy = answer, None, False
        self.changed.emit()

    def _fail(self, report: ErrorReport) -> None:
        self.error, self.is_busy = report, False
        self.changed.emit()

    def _set_busy(self) -> None:
        self.is_busy = True
        self.changed.emit()

    def _run(self, function: Callable[[], None]) -> None:
        threading.Thread(target=function, name="keyring", daemon=True).start()


def _source() -> TokenSource:
    """Where the token in use is from, in the order in which the engine looks."""
    if environment_token():
        return "environment"
    if kept_token():
        return "keyring"
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    place = Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
    return "login" if place.is_file() else ""
