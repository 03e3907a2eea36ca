"""Implementations measured in turns, a slice of time for each, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from experiments.benchmarks.workers import Worker, WorkerError

_WARM_UP = 2
OURS = "medjax"


def measure(
    jobs: Mapping[str, tuple[str, dict[str, Any]]], *, slices: int, seconds: float, optional: tuple[str, ...] = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """({name: times and facts}, {name: why it was left out}) of `jobs`, `{name: (build function, options)}` as of `workers`.

    Each gets `slices` slices of about `seconds`, at least one step. Times are in milliseconds: the median over slices, their
    range, and the work of all cores; a share says how much of that implementation's time medjax takes. Raises WorkerError where
    one fails that is not `optional`.
    """
    with ExitStack() as stack:
        workers, skipped = {}, {}
        for name, (build, options) in jobs.items():
            try:
                workers[name] = stack.enter_context(Worker(build, **options))
            except WorkerError as error:
                if name not in optional:
                    raise
                skipped[name] = str(error)
        counts = {}
        for name, worker in workers.items():
            worker.slice(_WARM_UP)
            counts[name] = min(max(round(seconds / worker.slice(1)[0]), 1), 200)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
        for _ in range(slices):
            for name, worker in workers.items():
                times[name].append(worker.slice(counts[name]))
        found = {name: {**_times(times[name]), **worker.facts, **worker.finish()} for name, worker in workers.items()}
    for name, row in found.items():
        if name != OURS:
            row["medjax_ratio"] = found[OURS]["ms"] / row["ms"]
    return found, skipped


def _times(slices: list[tuple[float, float]]) -> dict[str, Any]:
    clock, work = zip(*slices, strict=True)
    return {
        "ms": 1000 * statistics.median(clock),
        "ms_range": [1000 * min(clock), 1000 * max(clock)],
        "cpu_ms": 1000 * statistics.median(work),
        "slices": len(clock),
    }
