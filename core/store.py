"""The queue, its history and what was measured on this machine, in SQLite in the user's data directory.

All of it survives restarts and crashes. This module is light. One row is one job with its state, last progress, result
or error; several processes may use the file at once (the window and the command line), so every call is one short
transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import platformdirs
import psutil
from pydantic import ValidationError

from core.errors import ErrorReport
from core.estimate.overhead import Load
from core.jobs import JOB, RESULT_TYPES, Job, Value
from core.progress import Snapshot

State = Literal["queued", "running", "done", "failed", "cancelled", "paused", "interrupted"]
# What asks for nothing more until somebody does.
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled", "paused", "interrupted"})
Stopped = Literal["cancelled", "paused", "interrupted"]
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, position REAL NOT NULL, kind TEXT NOT NULL, job TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL, owner_pid INTEGER, owner_started REAL,
    progress TEXT, result TEXT, error TEXT, log TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs(state, position);
CREATE TABLE IF NOT EXISTS loads (at REAL NOT NULL, backend TEXT NOT NULL, load TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS speeds (key TEXT PRIMARY KEY, seconds REAL NOT NULL);
"""
LOADS_KEPT = 50
_COLUMNS = "id, kind, job, state, created, started, finished, progress, result, error, log"


def data_dir() -> Path:
    """The user's data directory (BITWRIGHT_DATA_DIR overrides it, for tests and portable use); not created here."""
    override = os.environ.get("BITWRIGHT_DATA_DIR")
    return Path(override) if override else Path(platformdirs.user_data_dir("bitwright", appauthor=False))


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One row: times are seconds since the epoch; result is set only where state is 'done'."""

    id: str
    job: Job
    state: State
    created: float
    started: float | None
    finished: float | None
    progress: Snapshot | None
    result: Value | None
    error: ErrorReport | None
    log: str


class Store:
    """The jobs' table. Opening it marks jobs whose process is gone as interrupted."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or data_dir() / "jobs.sqlite3"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as db:
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._mark_interrupted()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=10)
        try:
            with db:
                yield db
        finally:
            db.close()

    def add(self, job: Job, state: State = "queued") -> str:
        """Appends a job to the queue and returns its id."""
        job_id, now = uuid.uuid4().hex[:12], time.time()
        with self._connection() as db:
            db.execute(
                "INSERT INTO jobs (id, position, kind, job, state, created) VALUES (?, ?, ?, ?, ?, ?)",
                (job_id, now, job.kind, job.model_dump_json(by_alias=True), state, now),
            )
        return job_id

    def start(self, job_id: str) -> None:
        """Marks a job as running in this process."""
        owner = psutil.Process()
        with self._connection() as db:
            db.execute(
                "UPDATE jobs SET state = 'running', started = ?, finished = NULL, error = NULL, owner_pid = ?, "
                "owner_started = ? WHERE id = ?",
                (time.time(), owner.pid, owner.create_time(), job_id),
            )

    def progress(self, job_id: str, snapshot: Snapshot) -> None:
        """Keeps the latest progress of a running job."""
        with self._connection() as db:
            db.execute("UPDATE jobs SET progress = ? WHERE id = ?", (snapshot.model_dump_json(), job_id))

    def append_log(self, job_id: str, text: str) -> None:
        """Adds text to the job's log."""
        with self._connection() as db:
            db.execute("UPDATE jobs SET log = log || ? WHERE id = ?", (text, job_id))

    def finish(self, job_id: str, result: Value) -> None:
        """Marks a job as done and keeps its result."""
        with self._connection() as db:
            db.execute(
                "UPDATE jobs SET state = 'done', finished = ?, result = ? WHERE id = ?",
                (time.time(), result.model_dump_json(by_alias=True), job_id),
            )

    def fail(self, job_id: str, error: ErrorReport) -> None:
        """Marks a job as failed and keeps why."""
        with self._connection() as db:
            db.execute(
                "UPDATE jobs SET state = 'failed', finished = ?, error = ? WHERE id = ?",
                (time.time(), json.dumps(asdict(error)), job_id),
            )

    def cancel(self, job_id: str, state: Stopped = "cancelled") -> None:
        """Marks a job as stopped before its end: cancelled, or in another way."""
        with self._connection() as db:
            db.execute("UPDATE jobs SET state = ?, finished = ? WHERE id = ?", (state, time.time(), job_id))

    def requeue(self, job_id: str, job: Job) -> None:
        """Puts an ended job back at the end of the queue as the value given, forgetting how it ended."""
        with self._connection() as db:
            db.execute(
                "UPDATE jobs SET job = ?, state = 'queued', position = ?, started = NULL, finished = NULL, "
                "progress = NULL, result = NULL, error = NULL WHERE id = ?",
                (job.model_dump_json(by_alias=True), time.time(), job_id),
            )

    def move(self, job_id: str, before: str) -> None:
        """Moves a queued job directly before another one."""
        with self._connection() as db:
            (position,) = db.execute("SELECT position FROM jobs WHERE id = ?", (before,)).fetchone()
            row = db.execute(
                "SELECT max(position) FROM jobs WHERE position < ? AND id != ?", (position, job_id)
            ).fetchone()
            lower = row[0] if row[0] is not None else position - 1
            db.execute("UPDATE jobs SET position = ? WHERE id = ?", ((lower + position) / 2, job_id))

    def remove(self, job_id: str) -> None:
        """Forgets a job; its output file is left alone."""
        with self._connection() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def get(self, job_id: str) -> JobRecord:
        """One job. Raises KeyError where there is none of that id, and ValidationError for one of a newer version."""
        with self._connection() as db:
            row = db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise KeyError(job_id)
        return _record(row)

    def jobs(self, *states: State) -> list[JobRecord]:
        """All jobs in queue order, or those in the given states."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        with self._connection() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM jobs {where} ORDER BY position", states).fetchall()
        return _records(rows)

    def summaries(self) -> list[JobRecord]:
        """All jobs in queue order without their results and logs, which may be large; for lists that are refreshed."""
        columns = _COLUMNS.replace("result", "NULL").replace("log", "''")
        with self._connection() as db:
            rows = db.execute(f"SELECT {columns} FROM jobs ORDER BY position").fetchall()
        return _records(rows)

    def latest(self, kind: str, count: int) -> list[JobRecord]:
        """The latest jobs of one kind that ended well, the newest first."""
        order = "WHERE state = 'done' AND kind = ? ORDER BY finished DESC LIMIT ?"
        with self._connection() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM jobs {order}", (kind, count)).fetchall()
        return _records(rows)

    # ------------------------------------------------------------ what was measured on this machine

    def add_load(self, load: Load) -> None:
        """Keeps what loading a model took beside what was predicted; of old ones only the latest stay."""
        with self._connection() as db:
            db.execute("INSERT INTO loads VALUES (?, ?, ?)", (load.at, load.backend, load.model_dump_json()))
            db.execute(
                "DELETE FROM loads WHERE at <= (SELECT at FROM loads ORDER BY at DESC LIMIT 1 OFFSET ?)", (LOADS_KEPT,)
            )

    def loads(self) -> list[Load]:
        """The latest real loads, the oldest first."""
        with self._connection() as db:
            rows = db.execute("SELECT load FROM loads ORDER BY at").fetchall()
        return [Load.model_validate_json(text) for (text,) in rows]

    def keep_speeds(self, speeds: Mapping[str, float]) -> None:
        """Keeps measured seconds under their keys."""
        with self._connection() as db:
            db.executemany("INSERT OR REPLACE INTO speeds VALUES (?, ?)", speeds.items())

    def speeds(self) -> dict[str, float]:
        """All measured seconds by their keys."""
        with self._connection() as db:
            return dict(db.execute("SELECT key, seconds FROM speeds").fetchall())

    def _mark_interrupted(self) -> None:
        with self._connection() as db:
            rows = db.execute("SELECT id, owner_pid, owner_started FROM jobs WHERE state = 'running'").fetchall()
            gone = [(time.time(), job_id) for job_id, pid, began in rows if not _is_alive(pid, began)]
            db.executemany("UPDATE jobs SET state = 'interrupted', finished = ? WHERE id = ?", gone)


def _is_alive(pid: int | None, started: float | None) -> bool:
    """Whether the process that owned a job still runs (a reused pid has another start time)."""
    try:
        return pid is not None and started is not None and abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.Error:
        return False


def _records(rows: Iterable[tuple]) -> list[JobRecord]:  # type: ignore[type-arg]  # rows of _COLUMNS
    """The rows that this version understands; those of a newer one, in the same file, are left to it."""
    records = []
    for row in rows:
        with suppress(ValidationError, KeyError, TypeError):
            records.append(_record(row))
    return records


def _record(row: tuple) -> JobRecord:  # type: ignore[type-arg]  # a sqlite3 row of _COLUMNS
    job_id, kind, job, state, created, started, finished, progress, result, error, log = row
    return JobRecord(
        id=job_id,
        job=JOB.validate_json(job),
        state=state,
        created=created,
        started=started,
        finished=finished,
        progress=Snapshot.model_validate_json(progress) if progress else None,
        result=RESULT_TYPES[kind].model_validate_json(result) if result else None,
        error=ErrorReport(**json.loads(error)) if error else None,
        log=log,
    )
