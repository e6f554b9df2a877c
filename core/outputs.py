"""The outputs of a quantization while they are written: files, what follows them on the disk, and their journal."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.chunks import Chunk, Made, Wanted
from core.errors import Cancelled, DiskFull, OutputIsSource
from core.fingerprint import fingerprint
from core.formats.atomic import AtomicFile, CommittedFile
from core.formats.gguf_writer import GGUFWriter
from core.jobs import QuantizeJob, TensorPlan
from core.journal import Beginning, Entry, Journal
from core.parts import Part, path_of
from core.plan import Prepared
from core.progress import Progress
from core.readback import Mark, ReadBack
from core.resuming import Kept, Unfinished, reopen
from core.sources import Source, SourceTensor
from core.verify import Expected, verify_written
from core.weighting import means_of
from kernels.measure import ErrorSums

if TYPE_CHECKING:
    from core.calibrated_gguf import SolvedTensors

# After these a job that is to be resumable leaves what it has done; other errors would come again.
KEPT_AFTER = (Cancelled, KeyboardInterrupt)

Work = tuple[QuantizeJob, Prepared]


@dataclass(slots=True)
class OutputFile:
    """One file being written: where it goes, the tensors that belong into it, and what follows it on the disk.

    begun: how much of it was there and in order before, and the SHA-256 of that; None for a new file.
    """

    out: AtomicFile
    writer: GGUFWriter
    part: Part
    begun: tuple[int, Any] | None = None
    behind: ReadBack = field(init=False)

    @classmethod
    def begin(cls, out: AtomicFile, part: Part) -> OutputFile:
        """A new file; writes its header."""
        return cls(out, GGUFWriter(out, part.metadata, part.layout), part)

    @classmethod
    def go_on(cls, out: AtomicFile, part: Part, count: int, digest: Any) -> OutputFile:
        """A file whose header and first `count` tensors are there; what stands behind them is cut off."""
        end = part.layout.end_of(count)
        out.shorten(end)
        return cls(out, GGUFWriter.continued(out, part.layout, count, digest), part, (end, digest.copy()))

    def follow(self, stack: ExitStack, journal: Journal) -> None:
        """Begins to read back behind the writer, from where that was done already."""

        def sync() -> None:
            self.out.sync()
            journal.sync()

        self.behind = stack.enter_context(ReadBack(self.out.path, sync, self.part.layout.bytes, self.begun))
        if self.begun is None:
            self.behind.wrote(Mark(self.writer.position, self.writer.digest(), "the header"))

    def append(self, name: str, made: Made) -> None:
        """Writes a chunk behind the last one."""
        self.writer.append(name, made.data)

    def completed(self, name: str) -> None:
        """A tensor was written to its end. Raises what was found on the disk meanwhile."""
        self.behind.wrote(Mark(self.writer.position, self.writer.digest(), f"tensor {name}"))

    def check(self) -> None:
        """Opens the complete file with an independent reader. Raises VerificationFailed."""
        self.writer.finish()
        slots = self.part.layout.tensors
        expected = [Expected(slot.name, slot.shape, slot.type, slot.bytes) for slot in slots]
        verify_written(self.out.path, expected, self.part.layout.bytes)


@dataclass(slots=True)
class Target:
    """One output being written: what was decided for it, its files, and the error sums of every tensor.

    solved: tensors whose bytes were found before, by a method that looks at a text.
    """

    job: QuantizeJob
    prepared: Prepared
    files: tuple[OutputFile, ...]
    rows: dict[str, TensorPlan]
    file_of: dict[str, OutputFile]
    sums: dict[str, ErrorSums]
    solved: SolvedTensors | None = None

    @classmethod
    def of(cls, job: QuantizeJob, prepared: Prepared, files: Sequence[OutputFile]) -> Target:
        """A target none of whose sums are known yet."""
        file_of = {slot.name: file for file in files for slot in file.part.layout.tensors}
        return cls(job, prepared, tuple(files), {row.name: row for row in prepared.plan.tensors}, file_of, {})

    def wanted(self, tensor: SourceTensor) -> Wanted:
        """What is to be made of a tensor."""
        row, matrix = self.rows[tensor.name], self.prepared.matrix
        means = means_of(matrix, row.name, row.shape) if row.weighted and matrix is not None else None
        solved = None if self.solved is None else self.solved.data(tensor.name)
        return Wanted(row, self.job.options.fit, means, solved)

    def add(self, chunk: Chunk, made: Made) -> None:
        """Writes a chunk, and with the last one of a tensor completes it."""
        name = chunk.tensor.name
        self.sums[name] = self.sums.get(name, ErrorSums()) + made.sums
        self.file_of[name].append(name, made)
        if chunk.is_last:
            self.file_of[name].completed(name)


@dataclass(slots=True)
class Outputs:
    """Everything that one pass over a source writes. done: how many of the source's tensors were complete before.

    began: when the pass would have begun had it not been interrupted, in seconds of the monotonic clock.
    """

    targets: tuple[Target, ...]
    journal: Journal
    done: int
    began: float

    @property
    def files(self) -> list[OutputFile]:
        """The files of all targets, in the order in which they get their names."""
        return [file for target in self.targets for file in target.files]

    def add(self, chunk: Chunk, made: Sequence[Made]) -> None:
        """Writes a chunk into every target; a tensor that is complete goes into the journal."""
        for target, own in zip(self.targets, made, strict=True):
            target.add(chunk, own)
        if chunk.is_last:
            self.journal.add(self._entry(chunk.tensor.name))

    def commit(self) -> None:
        """Gives all files their names. Raises DiskFull, OutputNotWritable."""
        for file in self.files:
            file.out.commit()

    def _entry(self, name: str) -> Entry:
        sums = tuple(as_numbers(target.sums[name]) for target in self.targets)
        digests = tuple(target.file_of[name].writer.hexdigest() for target in self.targets)
        return Entry(name, sums, digests, time.monotonic() - self.began)


def as_numbers(sums: ErrorSums) -> tuple[float, ...]:
    """Error sums as a journal keeps them: in the order of their fields."""
    return (sums.n, sums.squared_error, sums.squared_x, sums.squared_y, sums.product_xy, sums.max_error)


def as_sums(numbers: Sequence[float]) -> ErrorSums:
    """The reverse of `as_numbers`."""
    return ErrorSums(int(numbers[0]), *numbers[1:])


def open_outputs(source: Source, work: Sequence[Work], progress: Progress, stack: ExitStack) -> Outputs:
    """Begins the outputs, or goes on with those that an interrupted run left where the job says so.

    The stack removes what is not committed when it is closed. Raises OutputIsSource, OutputNotWritable, OutputInUse,
    DiskFull, CannotResume, ReadFailed.
    """
    began = time.monotonic()
    jobs = [job for job, _ in work]
    files = [list(zip(output_paths(*item), item[1].parts, strict=True)) for item in work]
    for path, _ in (pair for target in files for pair in target):
        if path.exists() and any(os.path.samefile(path, file) for file in source.files):
            raise OutputIsSource(str(path))
    made_of = fingerprint(source, jobs, [prepared for _, prepared in work])
    names = [os.path.abspath(job.output) for job in jobs]
    left = reopen(names, files, made_of, progress) if jobs[0].resume else None
    keep_for: tuple[type[BaseException], ...] = KEPT_AFTER if jobs[0].keep_unfinished else ()
    if left is not None:
        keep_for = (*keep_for, DiskFull)  # too little room to go on is no reason to lose what was kept
    opened = _opened(files, left, keep_for, stack)
    targets = tuple(Target.of(*item, own) for item, own in zip(work, opened, strict=True))
    journal = left.journal if left else Journal.create(_beginning(names, files, opened, made_of))
    journal.keep_for = keep_for
    stack.enter_context(journal)
    for number, target in enumerate(targets):
        target.sums |= {entry.tensor: as_sums(entry.sums[number]) for entry in journal.entries}
        for file in target.files:
            file.follow(stack, journal)
    return Outputs(targets, journal, left.tensors if left else 0, began - (left.seconds if left else 0.0))


def output_paths(job: QuantizeJob, prepared: Prepared) -> list[Path]:
    """The files that a job makes, the first part first."""
    count = len(prepared.parts)
    return [path_of(Path(job.output), number, count) for number in range(count)]


def _opened(
    files: Sequence[Sequence[tuple[Path, Part]]],
    left: Unfinished | None,
    keep_for: tuple[type[BaseException], ...],
    stack: ExitStack,
) -> list[list[OutputFile]]:
    """All files of all targets, new or as they were left."""
    reserved = 0  # what is written at the same time needs its room at the same time
    done = {entry.tensor for entry in left.journal.entries} if left else frozenset()
    opened: list[list[OutputFile]] = []
    for number, target in enumerate(files):
        opened.append([])
        for place, (path, part) in enumerate(target):
            kept = left.files[number][place] if left else None
            reserved += part.layout.bytes - (kept.path.stat().st_size if kept else 0)
            out = stack.enter_context(_file(path, reserved, kept, keep_for))
            if kept is None:
                opened[-1].append(OutputFile.begin(out, part))
            else:
                count = sum(slot.name in done for slot in part.layout.tensors)
                opened[-1].append(OutputFile.go_on(out, part, count, kept.digests[count]))
    return opened


def _file(path: Path, needed: int, kept: Kept | None, keep_for: tuple[type[BaseException], ...]) -> AtomicFile:
    if kept is not None and kept.is_committed:
        return CommittedFile(path)
    out = AtomicFile(path, needed, kept.path if kept else None)
    out.keep_for = keep_for
    return out


def _beginning(
    outputs: Sequence[str],
    files: Sequence[Sequence[tuple[Path, Part]]],
    opened: Sequence[Sequence[OutputFile]],
    made_of: dict[str, str],
) -> Beginning:
    return Beginning(
        tuple(outputs),
        made_of,
        tuple(tuple(str(path) for path, _ in target) for target in files),
        tuple(tuple(str(file.out.path) for file in target) for target in opened),
    )
