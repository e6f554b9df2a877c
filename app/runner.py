"""The job queue of the window: what computes runs one after another, downloads beside it and beside each other.

Every answer is delivered in the thread of the window. Nothing here waits, except `shutdown`.
"""

from __future__ import annotations

import os

from PySide6.QtCore import QObject, Signal

from app.job_kinds import KINDS, LANES, LaneName
from app.lane import Lane, Run
from app.worker_link import end_all
from core.errors import ErrorReport, ImatrixNotComputed
from core.hub.leftovers import UnfinishedDownload, find_unfinished
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    DownloadJob,
    ImatrixJob,
    Job,
    QuantizeJob,
    QuantizeManyJob,
    kept,
    outputs_of,
)
from core.leftovers import Leftovers, find_leftovers
from core.progress import Measured, Snapshot
from core.store import ENDED, Stopped, Store

SHUTDOWN_S = 8.0
# How many jobs of a lane may run at a time, at most.
ROOM: dict[LaneName, int] = {"compute": 1, "network": 4}
# Jobs that quantize: what they have done is kept, to go on with it.
QUANTIZING = (QuantizeJob, QuantizeManyJob, CheckpointJob, CheckpointManyJob)


class JobQueue(QObject):
    """Runs the store's queued jobs. Signals carry the job's id.

    changed: the state of a job, or its place, is another. progressed: (id, Snapshot). logged: (id, text).
    finished: the job has ended, in whatever way.
    """

    changed = Signal(str)
    progressed = Signal(str, object)
    logged = Signal(str, str)
    finished = Signal(str)

    def __init__(self, store: Store, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self._stopping = False
        self._room = dict(ROOM)
        self._lanes: dict[LaneName, list[Lane]] = {
            name: [Lane(store, self) for _ in range(count)] for name, count in ROOM.items()
        }
        for lane in self._all_lanes():
            lane.progressed.connect(self.progressed)
            lane.logged.connect(self.logged)
            lane.ended.connect(self._on_ended)

    def set_room(self, name: LaneName, count: int) -> None:
        """How many jobs of a lane may run at a time from now on, up to ROOM; those that run go on."""
        self._room[name] = min(count, ROOM[name])

    def resume(self) -> None:
        """Starts the first queued jobs of every lane that has room; called at start-up and after every ending."""
        for name in LANES:
            while not self._stopping and (lane := self._free(name)):
                queued = [record for record in self._store.jobs("queued") if KINDS[record.job.kind].lane == name]
                if not queued:
                    break
                lane.start(queued[0].id, queued[0].job)
                self.changed.emit(queued[0].id)
                lane.begin_log()

    def resume_interrupted(self) -> None:
        """Queues what was begun here and interrupted by a crash or a power cut; called once at start-up."""
        for record in self._store.jobs("interrupted"):
            if getattr(record.job, "keep_unfinished", False) and find_leftovers(outputs_of(record.job)):
                self._requeue(record.id, record.job, resume=True)

    def interrupted_downloads(self) -> list[str]:
        """The ids of downloads that a crash, a power cut or the end of the program interrupted."""
        return [record.id for record in self._store.jobs("interrupted") if isinstance(record.job, DownloadJob)]

    def leftover(self, job_id: str) -> Leftovers | UnfinishedDownload | None:
        """What an ended job left to go on with."""
        record = self._store.get(job_id)
        if record.state not in ENDED - {"done"}:
            return None
        if isinstance(record.job, DownloadJob):
            return self._unfinished(job_id, record.job)
        return find_leftovers(outputs_of(record.job)) if isinstance(record.job, QUANTIZING) else None

    def _unfinished(self, job_id: str, job: DownloadJob) -> UnfinishedDownload | None:
        """What a download left, unless another one of the same model may go on with it, too."""
        place = (job.repo, job.output)
        others = self._store.jobs("queued", "running", "paused", "interrupted")
        downloads = [record for record in others if record.id != job_id and isinstance(record.job, DownloadJob)]
        is_shared = any((record.job.repo, record.job.output) == place for record in downloads)
        return None if is_shared else find_unfinished(*place)

    def go_on(self, job_id: str) -> None:
        """Puts a job at the end of the queue, to go on with what it left."""
        record = self._store.get(job_id)
        if self.leftover(job_id) or (KINDS[record.job.kind].goes_on and record.state in ENDED - {"done"}):
            self._requeue(job_id, record.job, resume=True)
            self.resume()

    def discard(self, job_id: str) -> None:
        """Removes what a job left."""
        if leftover := self.leftover(job_id):
            leftover.discard()
            self.changed.emit(job_id)

    def is_taken(self, output: str) -> bool:
        """Whether a job that waits or runs, here or on the command line, will write to this path."""
        waiting = self._store.jobs("queued", "running")
        written = {os.path.realpath(path) for record in waiting for path in outputs_of(record.job)}
        return os.path.realpath(output) in written

    def submit(self, job: Job) -> str:
        """Appends a job to the queue and returns its id."""
        job_id = self._store.add(kept(job, keep=True, resume=False))
        self.changed.emit(job_id)
        self.resume()
        return job_id

    def running(self) -> str | None:
        """The id of `running_job`."""
        return next((run.id for run in self._runs()), None)

    def is_running(self, job_id: str) -> bool:
        """Whether this job runs in this window."""
        return self._lane_of(job_id) is not None

    def running_job(self) -> Job | None:
        """The job that runs now; where several lanes have one, that of the first."""
        return next((run.job for run in self._runs()), None)

    def snapshot(self, job_id: str = "") -> Snapshot | None:
        """The latest progress of a running job, by default that of `running_job`."""
        return next((run.snapshot for run in self._runs() if job_id in ("", run.id)), None)

    def measured(self, job_id: str) -> tuple[Measured, ...]:
        """The figures that a running job has told of so far; none of one that does not run here."""
        return next((tuple(run.measured) for run in self._runs() if run.id == job_id), ())

    def is_cancelling(self, job_id: str) -> bool:
        """Whether this job runs and has been asked to stop."""
        lane = self._lane_of(job_id)
        return bool(lane and lane.run and lane.run.stopped)

    def cancel(self, job_id: str) -> None:
        """Takes a queued job out of the queue, or asks a running one to stop; `finished` tells when it has."""
        self._stop(job_id, "cancelled")

    def pause(self, job_id: str) -> None:
        """The same for a job that goes on later where it was: it is kept as paused."""
        self._stop(job_id, "paused")

    def _stop(self, job_id: str, state: Stopped) -> None:
        if lane := self._lane_of(job_id):
            lane.stop(state)
        elif self._store.get(job_id).state == "queued":
            self._store.cancel(job_id, state)
            self.finished.emit(job_id)
        self.changed.emit(job_id)

    def retry(self, job_id: str) -> None:
        """Puts an ended job at the end of the queue again, to begin anew."""
        record = self._store.get(job_id)
        if record.state in ENDED:
            self._requeue(job_id, record.job, resume=False)
            self.resume()

    def remove(self, job_id: str) -> None:
        """Forgets a job that does not run, and what it left unfinished; its output stays."""
        if not self.is_running(job_id):
            self.discard(job_id)
            self._store.remove(job_id)
            self.changed.emit(job_id)

    def move(self, job_id: str, before: str) -> None:
        """Moves a queued job directly before another one."""
        self._store.move(job_id, before)
        self.changed.emit(job_id)

    def log(self, job_id: str) -> str:
        """The whole log of a job, up to its last line."""
        unsaved = [text for run in self._runs() if run.id == job_id for text in run.unsaved_log]
        return self._store.get(job_id).log + "".join(unsaved)

    def worker_pid(self) -> int | None:
        """The process id of the worker of `running_job`."""
        return next((run.link.pid for run in self._runs()), None)

    def shutdown(self, deadline_s: float = SHUTDOWN_S) -> None:
        """Cancels the running jobs, ends every worker process and waits for them, at most about the deadline."""
        self._stopping = True
        for lane in self._all_lanes():
            lane.shutdown()
        end_all(deadline_s)

    def _runs(self) -> list[Run]:
        return [lane.run for lane in self._all_lanes() if lane.run]

    def _all_lanes(self) -> list[Lane]:
        return [lane for lanes in self._lanes.values() for lane in lanes]

    def _free(self, name: LaneName) -> Lane | None:
        """A lane in which nothing runs, where one more may run."""
        idle = [lane for lane in self._lanes[name] if not lane.run]
        return idle[0] if idle and len(self._lanes[name]) - len(idle) < self._room[name] else None

    def _lane_of(self, job_id: str) -> Lane | None:
        return next((lane for lane in self._all_lanes() if lane.run and lane.run.id == job_id), None)

    def _requeue(self, job_id: str, job: Job, *, resume: bool) -> None:
        self._store.requeue(job_id, kept(job, keep=True, resume=resume))
        self.changed.emit(job_id)

    def _on_ended(self, run: Run) -> None:
        if run.result is None and isinstance(run.job, ImatrixJob):
            self._fail_without(run.job.output)
        self.changed.emit(run.id)
        self.finished.emit(run.id)
        self.resume()

    def _fail_without(self, imatrix: str) -> None:
        """Jobs that wait for an importance matrix which is not there cannot run."""
        for record in self._store.jobs("queued"):
            if isinstance(record.job, QUANTIZING) and record.job.options.imatrix == imatrix:
                self._store.fail(record.id, ErrorReport.of(ImatrixNotComputed(imatrix)))
                self.changed.emit(record.id)
