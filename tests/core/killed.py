"""Runs jobs in forked processes that end themselves by SIGKILL at a chosen step; a program of its own, for test_resume.

Standard input: a JSON object with `job`, a seed, and how many `kills` there are to be. A step is one call of what
changes the disk or shows that the job goes on, so that kills fall into planning, between chunks and tensors, into the
reading back, the journal and the renaming alike.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

from core import engine, plan, stream
from core.formats.atomic import AtomicFile
from core.jobs import JOB
from core.journal import Journal
from core.progress import Progress
from core.readback import ReadBack

STEPS = (
    (AtomicFile, "__enter__"),
    (AtomicFile, "write"),
    (AtomicFile, "sync"),
    (AtomicFile, "commit"),
    (AtomicFile, "__exit__"),
    (Journal, "add"),
    (Journal, "__exit__"),
    (ReadBack, "_check"),
    (Progress, "update"),
    (os, "replace"),
    (os, "fsync"),
)
plan.CHUNK_ELEMENTS = 4096


def counted(owner, name, step):
    """Makes every call of a function one step before it and one after it."""
    function = getattr(owner, name)

    def call(*arguments, **options):
        step(name)
        try:
            return function(*arguments, **options)
        finally:
            step(name)

    setattr(owner, name, call)


def run(job, kill_at=None, answer=None):
    """Runs a job in a forked process; whether it was killed at that step. answer: a file for what came out."""
    child = os.fork()
    if child == 0:
        count = 0
        computed = {}

        def step(name):
            nonlocal count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        for owner, name in STEPS:
            counted(owner, name, step)

        def noted(source, chunk, raw, compute):
            computed[chunk.tensor.name] = True
            return make(source, chunk, raw, compute)

        make, stream.make = stream.make, noted
        result = engine.run(job, Progress())
        values = {
            "result": json.loads(result.model_dump_json(by_alias=True)),
            "steps": count,
            "computed": len(computed),
        }
        if answer:
            Path(answer).write_text(json.dumps(values))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def main():
    """Kills a job again and again, at first a job begun anew, then one resumed, and prints what came out."""
    asked = json.load(sys.stdin)
    job = JOB.validate_python(asked["job"])
    resumed = job.model_copy(update={"resume": True})
    folder, answer = Path(asked["folder"]), Path(asked["answer"])
    engine.run(job)  # compiles, so that the forked processes need not
    clean = {path.name: path.read_bytes().hex() for path in folder.iterdir()}
    rng, runs = random.Random(asked["seed"]), []
    run(job, None, answer)
    steps = json.loads(answer.read_text())["steps"]
    for number in range(asked["kills"]):
        shutil.rmtree(folder)
        folder.mkdir()
        # Every stage is met, because the steps are drawn from equal parts of the whole.
        at = 1 + int((number + rng.random()) * steps / asked["kills"])
        killed = run(job, at)
        if number % 4 == 3:  # and once more while it is resumed
            run(resumed, rng.randrange(1, steps // 2))
        lines = sum(path.read_bytes().count(b"\n") - 1 for path in folder.glob(".*.journal-*"))
        run(resumed, None, answer)
        values = json.loads(answer.read_text())
        made = {path.name: path.read_bytes().hex() for path in folder.iterdir()}
        differ = sorted(name for name in {*made, *clean} if made.get(name) != clean.get(name))
        row = {
            "at": at,
            "killed": killed,
            "lines": lines,
            "computed": values["computed"],
            "differ": differ,
            "result": values["result"],
        }
        runs.append(row)
    sys.stdout.write(json.dumps({"runs": runs}))


if __name__ == "__main__":
    main()
