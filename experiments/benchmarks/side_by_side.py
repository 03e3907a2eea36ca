"""medjax and PyTorch at the same work, in turns: what `train_step` and `inference` have in common."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks import cases, devices, interleaved
from experiments.benchmarks.cases import Case
from experiments.benchmarks.workers import WorkerError
from experiments.benchmarks.written import write
from medjax.build import config as configs
from medjax.types import MedjaxError

BUSY = "the machine is busy (load {:.1f}): its figures, and ratios of threaded libraries most of all, are not an idle machine's"
NOTES = (
    "GFLOP: XLA's cost analysis of the program before it is compiled; it counts every product, elementwise work and each "
    "transcendental once, leaves out what convolutions would multiply with padding, and counts the body of a scan once",
    "CPU ms: the work of all cores per step, which a busy machine changes less than the clock (waiting threads that spin count)",
    "program MB: arguments, outputs and temporaries of the compiled step, donated buffers once; process MB: the peak of the "
    "whole process while stepping, libraries included; recompiled: compilations after the first step",
)
WORK = {"train": "experiments.benchmarks.medjax_step:build", "predict": "experiments.benchmarks.medjax_predict:build"}
WORK["forward"] = WORK["predict"]


def torch_missing() -> bool:
    """Whether there is no PyTorch here."""
    return importlib.util.find_spec("torch") is None


def measure(
    config: str,
    *,
    overrides: Sequence[str] = (),
    batch: int = 1,
    precision: str = "float32",
    slices: int = 5,
    seconds: float = 1.0,
    forms: Sequence[str] = (),
    task: str = "train",
) -> list[dict[str, Any]]:
    """A row for medjax and one for each of `forms` in PyTorch; `slices` interleaved slices of `seconds` each.

    A form that does not run on this machine (torch.compile without a compiler) gives a row with the reason, `skipped`. Raises
    WorkerError where another implementation fails, and MedjaxError for a config that cannot be used.
    """
    overrides = [*overrides, f"data.batch_size={batch}", f"train.precision={precision}"]
    configs.get(config, overrides)  # a wrong field ends here
    options = {"config": config, "overrides": overrides}
    jobs = {interleaved.OURS: (WORK[task], options if task == "train" else {**options, "task": task})}
    if forms:
        chosen = cases.peer(config, overrides, precision, task=task)
        jobs |= {f"torch {form}": ("experiments.benchmarks.peers:build", {"form": form, **chosen}) for form in forms}
    found, skipped = interleaved.measure(jobs, slices=slices, seconds=seconds, optional=("torch compile",))
    about = {"config": config, "task": task, "batch": batch, "precision": precision}
    rows = [{"implementation": name, **about, **_rates(row, batch, precision)} for name, row in found.items()]
    _check_sizes(rows)
    return rows + [{"implementation": name, **about, "skipped": why} for name, why in skipped.items()]


def _rates(row: dict[str, Any], batch: int, precision: str) -> dict[str, Any]:
    row = {**row, "images_per_second": 1000 * batch / row["ms"]}
    if row.get("gflop"):
        row["tflops"] = row["gflop"] / row["ms"]
        known = devices.peak(row["device_kind"])
        if known and known.of(precision):
            row |= {"peak_share": 1e12 * row["tflops"] / known.of(precision), "peak_source": known.source}
    return row


def _check_sizes(rows: Sequence[dict[str, Any]]) -> None:
    """The same networks: as many parameters, net by net."""
    ours = rows[0]["parameters"]
    for row in rows[1:]:
        theirs = {name: row["parameters"].get(name) for name in ours}
        if theirs != ours:
            raise WorkerError(f"{row['implementation']} is another network: {row['parameters']} parameters against {ours}")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in columns; a dash where something is not known."""
    put = lambda value, text: "-" if value is None else format(value, text)
    head = ("implementation", "batch", "precision", "ms/step", "range", "CPU ms", "images/s", "GFLOP", "TFLOP/s", "of peak",
            "compile s", "recompiled", "program MB", "process MB", "device MB", "medjax/this")  # fmt: skip
    lines = [head]
    for r in rows:
        if "skipped" in r:
            lines.append((r["implementation"], str(r["batch"]), r["precision"], *("-" for _ in head[3:])))
            continue
        low, high = r["ms_range"]
        program = (r.get("program_mb") or {}).get("total")
        lines.append((
            r["implementation"], str(r["batch"]), r["precision"], f"{r['ms']:.1f}", f"{low:.1f}-{high:.1f}", f"{r['cpu_ms']:.0f}",
            f"{r['images_per_second']:.2f}", put(r.get("gflop"), ".1f"), put(r.get("tflops"), ".3f"),
            put(r.get("peak_share"), ".1%"), put(r.get("compile_s"), ".1f"), put(r.get("recompiled"), "d"),
            put(program, ".0f"), put(r["rss_mb"], ".0f"), put(r.get("device_mb"), ".0f"), put(r.get("medjax_ratio"), ".2f"),
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)) for line in lines)


def main(name: str, doc: str, known: Sequence[Case], argv: Sequence[str] | None) -> int:
    """Runs the benchmark `name`, whose cases are `known`; returns the exit status."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda kind: lambda text: [kind(word) for word in text.split(",") if word]
    parser.add_argument("--config", help=f"NAME:VARIANT, as for medjax train (default {known[0].config})")
    parser.add_argument("--all", action="store_true", help="every case instead of one config")
    parser.add_argument("--only", type=words(str), default=[], help="the cases with one of these words in their names")
    parser.add_argument("--batch", type=words(int), help="batch sizes, separated by commas (default 1); cases have their own")
    parser.add_argument("--precision", type=words(str), default=["float32"], help="float32, bfloat16 or both")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice, roughly; at least one step")
    parser.add_argument("--peer", action="store_true", help="beside PyTorch, where it is installed")
    parser.add_argument("--forms", type=words(str), default=list(cases.FORMS[:2]), help=f"of PyTorch: {', '.join(cases.FORMS)}")
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    args, rest = parser.parse_known_args(argv)
    if wrong := [word for word in rest if not word.startswith("--config.") or "=" not in word]:
        parser.error(f"unknown argument {wrong[0]}")
    if wrong := [form for form in args.forms if form not in cases.FORMS]:
        parser.error(f"PyTorch is measured as {', '.join(cases.FORMS)}, not as {wrong[0]}")
    if (args.all or args.only) and (args.batch or args.config):
        parser.error("--config and --batch are for one config, --all and --only for the cases that have their own")
    try:
        overrides = [word.removeprefix("--config.") for word in rest]
        task = known[0].task
        name_of = args.config or known[0].config
        asked = [Case(name_of, name_of, batch, 0.0, task=task) for batch in args.batch or [1]]
        return _run(name, cases.chosen(known, args.only) if args.all or args.only else asked, args, overrides)
    except (MedjaxError, WorkerError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)


def _run(name: str, asked: Sequence[Case], args: argparse.Namespace, overrides: Sequence[str]) -> int:
    peer = args.peer and not torch_missing()
    if args.peer and not peer:
        print("--peer: PyTorch is not installed here, so medjax is timed alone.")
    if (load := os.getloadavg()[0]) > 0.5:
        print(BUSY.format(load))
    rows: list[dict[str, Any]] = []
    about = {"benchmark": name, "overrides": list(overrides), "load": load, "notes": NOTES}
    for case in asked:
        for precision in args.precision:
            begun = time.perf_counter()
            found = measure(
                case.config, overrides=[*case.overrides, *overrides], batch=case.batch, precision=precision, slices=args.slices,
                seconds=args.seconds, forms=args.forms if peer else (), task=case.task,
            )  # fmt: skip
            rows += [{"case": case.name, "goal": case.goal or None, **row} for row in found]
            _say(case, found, time.perf_counter() - begun)
            write(args.output, {**about, "rows": rows})  # after each case, for a later one may fail
    if len(asked) > 1 and len(rows) > 1:
        print(table(rows))
    first = rows[0]
    for note in (*NOTES, f"XLA_FLAGS: {first['xla_flags'] or 'none'}", "versions: " + json.dumps(first["versions"])):
        print(note)
    return 0


def _say(case: Case, rows: Sequence[dict[str, Any]], seconds: float) -> None:
    first = rows[0]
    print(f"{case.name} on {first['device_kind']} ({first['platform']}, {first['threads']} cores), measured in {seconds:.0f} s")
    print(", ".join(f"{name}: {n:,} parameters" for name, n in first["parameters"].items()))
    print(table(rows), flush=True)
    for row in rows:
        if "skipped" in row:
            print(f"{row['implementation']} is left out: {row['skipped']}")

