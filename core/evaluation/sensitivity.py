"""`sensitivity`: the divergence that comes of quantizing each piece of a model alone, and the ranking.

The teacher's pass is shared. A student differs from it in one piece, so it starts from the teacher's hidden states at
that piece's layer, and from there on passes the original layers together with all other students: every layer is
loaded once for all of them, and students cost half a pass on average. As many run at once as a share of the free memory
holds; others wait, and the teacher waits for them where they begin.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from core import memory
from core.chunks import Compute, Wanted
from core.errors import CannotRun, NothingToMeasure
from core.evaluation.pieces import Cut, cut
from core.evaluation.run import spare_folder
from core.evaluation.scores import Scores, compared, embedded, through_layers
from core.evaluation.statistics import figures, window_error
from core.evaluation.windows import read_windows
from core.given_texts import given_texts
from core.jobs import Piece, SensitivityFigures, SensitivityJob, SensitivityResult
from core.network.network import Layer, Network, check_context, open_network
from core.network.states import SHARE, HiddenStates
from core.plan import Prepared, prepare
from core.progress import Progress
from core.sources import Source, open_source
from core.sources.altered import AlteredSource
from core.weighting import means_of

EMBEDDING = "token_embd.weight"
# Students whose logits are in memory together.
COMPARED_AT_ONCE = 4
ONE_WINDOW = "errors of one window leave out how texts differ; measure several"


def sensitivity(job: SensitivityJob, progress: Progress) -> SensitivityResult:
    """Measures every piece of the source.

    Raises, before anything is computed: CannotRun, TextTooShort, NothingToMeasure, what `prepare` raises,
    SourceNotFound, ReadFailed, DeviceNotAvailable, OutputNotWritable; later NonFiniteActivations, DiskFull, Cancelled.
    """
    started = time.perf_counter()
    memory.return_large_buffers()
    memory.reset_peak()
    if job.threads:
        torch.set_num_threads(job.threads)
    given = given_texts(job.text, "evaluation", progress)
    progress.stage("Planning")
    with open_source(job.source) as source:
        options = job.options.model_copy(update={"allow_requantize": True})
        prepared = prepare(source, options)
        pieces = _pieces(source, prepared, job)
        check_context(source, job.context)
        with open_network(source, job.device) as network:
            progress.stage("Reading the text")
            windows = read_windows(job, network.tokenizer, given)
            run = _Run(network, windows.ids, spare_folder(), progress)
            students = [_student(network, piece, prepared, job) for piece in pieces]
            everything = network.reading(_altered(source, prepared, frozenset().union(*(p.names for p in pieces)), job))
            together, scored = run.measure(students, everything)
        made = prepared.plan
        measured = [
            Piece(name=p.name, layer=p.layer, bytes=sum(row.bytes for row in p.rows), tensors=p.tensors, **found)
            for p, found in zip(pieces, _with_shares(scored), strict=True)
        ]
        return SensitivityResult(
            source=job.source,
            source_bytes=source.file_bytes,
            architecture=source.architecture,
            target=made.target,
            bytes=made.bytes,
            by=job.by,
            datasets=windows.texts,
            context=job.context,
            chunks=len(windows.ids),
            tokens=run.tokens,
            seconds=time.perf_counter() - started,
            peak_memory_bytes=memory.peak_bytes(),
            together=SensitivityFigures(**together),
            pieces=tuple(sorted(measured, key=lambda piece: -piece.mean_kld)),
            warnings=(
                *(f"{name} is shorter than a window of {job.context} tokens" for name in windows.short),
                *([ONE_WINDOW] if len(windows.ids) == 1 else []),
            ),
        )


def _pieces(source: Source, prepared: Prepared, job: SensitivityJob) -> tuple[Cut, ...]:
    pieces = cut(prepared.plan.tensors, job.by)
    if not pieces:
        raise NothingToMeasure(job.source, prepared.plan.target)
    return pieces


def _altered(source: Source, prepared: Prepared, names: frozenset[str], job: SensitivityJob) -> AlteredSource:
    matrix = prepared.matrix
    wanted = {
        row.name: Wanted(
            row,
            job.options.fit,
            means_of(matrix, row.name, row.shape) if row.weighted and matrix is not None else None,
        )
        for row in prepared.plan.tensors
        if row.name in names
    }
    return AlteredSource(source, wanted, Compute("gpu" if job.device == "cuda" else "auto", job.threads))


# ---------------------------------------------------------------- students


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """A student's figures, and its divergence in each window, (windows,)."""

    figures: dict[str, float]
    kld: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Student:
    """The network with one piece altered. birth: the layer where it begins to differ; -1: the embedding."""

    network: Network
    birth: int


def _student(network: Network, piece: Cut, prepared: Prepared, job: SensitivityJob) -> _Student:
    """A student of what is in no layer begins before the first (the embedding), or behind the last (the output)."""
    outside = -1 if EMBEDDING in piece.names else network.layers
    if piece.layer is not None and piece.layer >= network.layers:
        raise CannotRun(job.source, f"{piece.name} is beyond its {network.layers} layers")
    view = network.reading(_altered(network.source, prepared, piece.names, job))
    return _Student(view, outside if piece.layer is None else piece.layer)


class _Run:
    """Students beside their teacher on the same windows."""

    def __init__(self, network: Network, ids: NDArray[np.int64], folder: Path, progress: Progress) -> None:
        self._network, self._ids, self._folder, self._progress = network, ids, folder, progress
        self._done = 0
        self.tokens = 0

    def measure(self, students: Sequence[_Student], everything: Network) -> tuple[dict[str, float], list[_Measured]]:
        """The figures of all pieces altered at once, and those of every student, in the order given.

        everything: the network with all pieces altered.
        """
        network, order = self._network, sorted(range(len(students)), key=lambda at: students[at].birth)
        found: dict[int, _Measured] = {}
        with ExitStack() as stack, torch.no_grad():
            limit = int(psutil.virtual_memory().available * SHARE)
            final, teacher = (stack.enter_context(self._states(limit // 8)) for _ in range(2))
            together = self._together(final, everything)
            self._begin(students)
            embedded(network, teacher, self._ids, self._progress, self._done)
            at_once = max(1, limit // teacher.bytes)
            rounds = [order[first : first + at_once] for first in range(0, len(order), at_once)]
            at = 0
            for number, members in enumerate(rounds):
                following = rounds[number + 1][0] if number + 1 < len(rounds) else members[-1]
                until = min(max(students[following].birth, 0), network.layers)
                own = [students[member] for member in members]
                scores = self._round(own, teacher, final, (at, until), limit // at_once)
                found |= dict(zip(members, scores, strict=True))
                at = until
        return together, [found[member] for member in range(len(students))]

    def _states(self, limit: int) -> HiddenStates:
        return HiddenStates((*self._ids.shape, self._network.width), self._folder, limit)

    def _begin(self, students: Sequence[_Student]) -> None:
        layers = self._network.layers
        steps = sum(layers - max(student.birth, 0) + 1 for student in students)
        self._progress.stage("Measuring one piece at a time", (layers + steps) * len(self._ids), "windows")

    def _together(self, final: HiddenStates, everything: Network) -> dict[str, float]:
        networks, count = (self._network, everything), len(self._ids)
        self._progress.stage("Running the model", 2 * self._network.layers * count, "windows")
        with self._states(final.bytes) as hidden:
            through_layers(networks, (final, hidden), self._ids, self._progress)
            self._progress.stage("Comparing", count, "windows")
            base, own = compared(networks, (final, hidden), self._ids, self._progress)
        self.tokens = base.nll.size
        return _figures(base, own)

    def _round(
        self, students: list[_Student], teacher: HiddenStates, final: HiddenStates, span: tuple[int, int], limit: int
    ) -> list[_Measured]:
        """Some students through all layers. span: the layers before which the teacher stands now and afterwards."""
        with ExitStack() as stack:
            states = [
                final if student.birth == self._network.layers else stack.enter_context(self._states(limit))
                for student in students
            ]
            for student, hidden in zip(students, states, strict=True):
                if student.birth < 0:
                    embedded(student.network, hidden, self._ids, self._progress, self._done)
            for number in range(span[0], self._network.layers):
                self._layer(number, students, states, teacher if number < span[1] else None, teacher)
            return list(self._scored(students, states, final))

    def _layer(
        self,
        number: int,
        students: list[_Student],
        states: list[HiddenStates],
        moving: HiddenStates | None,
        teacher: HiddenStates,
    ) -> None:
        """One layer: those that begin here from the teacher's states, then the older ones and the teacher itself."""
        pairs = list(zip(students, states, strict=True))
        for student, hidden in pairs:
            if student.birth == number:
                with student.network.layer(number) as layer:
                    self._pass(layer, teacher, hidden)
        older = [hidden for student, hidden in pairs if student.birth < number]
        if moving is not None:
            older.append(moving)
        if older:
            with self._network.layer(number) as layer:
                for hidden in older:
                    self._pass(layer, hidden, hidden)

    def _pass(self, layer: Layer, before: HiddenStates, after: HiddenStates) -> None:
        for batch in before.batches:
            self._progress.update(self._done, f"layer {layer.number + 1} of {self._network.layers}")
            after[batch] = layer(before[batch].to(self._network.device))
        self._done += len(self._ids)

    def _scored(self, students: list[_Student], states: list[HiddenStates], final: HiddenStates) -> Iterator[_Measured]:
        for first in range(0, len(students), COMPARED_AT_ONCE):
            some = slice(first, first + COMPARED_AT_ONCE)
            networks = [self._network, *(student.network for student in students[some])]
            base, *scores = compared(networks, [final, *states[some]], self._ids, self._progress, self._done)
            self._done += len(scores) * len(self._ids)
            yield from (_Measured(_figures(base, own), own.kld.mean(-1)) for own in scores)


def _figures(base: Scores, own: Scores) -> dict[str, float]:
    flat = (own.nll.ravel(), base.nll.ravel(), own.kld.ravel(), (own.top == base.top).ravel())
    all_figures = figures(*flat)
    by_window = {
        "mean_kld_error": window_error(own.kld),
        "ln_ratio_error": window_error(own.nll - base.nll),
        "same_top_p_error": 100 * window_error((own.top == base.top).astype(np.float64)),
    }
    return {name: all_figures[name] for name in SensitivityFigures.model_fields} | by_window


def _with_shares(scored: Sequence[_Measured]) -> Iterator[dict[str, float]]:
    """The figures of all pieces with how much of each window's summed divergence is theirs, in percent."""
    kld = np.stack([piece.kld for piece in scored])
    total = kld.sum(0)
    shares = 100 * np.divide(kld, total, out=np.zeros_like(kld), where=total > 0)
    for piece, share in zip(scored, shares, strict=True):
        yield piece.figures | {"share": float(share.mean()), "share_error": window_error(share[:, None])}
