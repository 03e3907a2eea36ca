"""What medjax's two settings for CPUs give: XLA's flag, and memory that the process keeps (`medjax.xla`).

    python -m experiments.benchmarks.settings [--only=pix2pix] [--slices=5] [--seconds=1] [--output=RESULT.json]

The training steps and predictions of `experiments.benchmarks.cases` three ways, in turns: with neither, with the flag alone, with
both, as every command of medjax has it. A row says what share of the time with neither a way takes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from experiments.benchmarks import cases
from experiments.benchmarks.cases import Case
from experiments.benchmarks.side_by_side import WORK
from experiments.benchmarks.workers import Worker, environment
from experiments.benchmarks.written import write
from medjax.types import ConfigError

CHOICES = ("MEDJAX_XLA_FLAGS", "XLA_FLAGS", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
# Where any MALLOC_ variable is set no memory is kept.
WAYS = {"neither": {"MEDJAX_XLA_FLAGS": "0"}, "flag": {"MALLOC_CHECK_": "0"}, "flag and memory": {}}


def measure(case: Case, *, slices: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each way, the first one the measure of the others."""
    options = {"config": case.config, "overrides": [*case.overrides, f"data.batch_size={case.batch}"]}
    options |= {} if case.task == "train" else {"task": case.task}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for way, variables in WAYS.items():
            with environment(**variables):
                workers[way] = stack.enter_context(Worker(WORK[case.task], **options))
        count = max(1, min(round(seconds / worker.slice(2)[0]) for worker in workers.values()))
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in workers}
        for _ in range(slices):
            for way, worker in workers.items():
                times[way].append(worker.slice(count))
        ends = {way: worker.finish() for way, worker in workers.items()}
    rows = []
    for way, worker in workers.items():
        clock, work = ([1000 * x for x in column] for column in zip(*times[way], strict=True))
        rows.append({
            "case": case.name, "task": case.task, "batch": case.batch, "way": way,
            "ms": median(clock), "ms_range": [min(clock), max(clock)],
            "cpu_ms": median(work), "rss_mb": ends[way]["rss_mb"], "xla_flags": worker.facts["xla_flags"],
            "device_kind": worker.facts["device_kind"], "versions": worker.facts["versions"],
        })  # fmt: skip
    return [{**row, "of_neither": row["ms"] / rows[0]["ms"]} for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases with this in their names")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice, roughly; at least one step")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    if chosen := [name for name in CHOICES if os.environ.get(name)]:
        parser.error(f"{chosen[0]} is set, which is a choice between the ways that are compared: unset it")
    try:
        asked = cases.chosen((*cases.TRAIN, *cases.INFERENCE), [args.only] if args.only else [])
    except ConfigError as error:
        parser.error(str(error))
    rows, load = [], os.getloadavg()[0]
    for case in asked:
        for row in measure(case, slices=args.slices, seconds=args.seconds):
            low, high = row["ms_range"]
            name = f"{row['task']} {row['case']}, batch {row['batch']}"
            print(
                f"{name:56} {row['way']:16} {row['ms']:8.1f} ms ({low:.1f}-{high:.1f}), CPU {row['cpu_ms']:8.0f} ms, "
                f"{row['rss_mb']:6.0f} MB, {row['of_neither']:.2f}",
                flush=True,
            )
            rows.append(row)
        write(args.output, {"benchmark": "settings", "load": load, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
