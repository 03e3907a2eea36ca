"""Where the time of a training step or a prediction goes: XLA's own trace of it, by kind of work.

    python -m experiments.benchmarks.profile [--task=predict] [--only=ddpm,resnet-18] [--steps=3] [--output=RESULT.json]

A row for each kind of work of a case of `experiments.benchmarks.cases`, in shares of the traced steps: copies that lay a map or a
kernel out anew, matrix products and sums, elementwise work. What is left over are convolutions, which XLA's trace on a CPU does
not show, and waiting. Tracing slows a step down, so that shares are what to read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks import cases
from experiments.benchmarks.cases import Case
from experiments.benchmarks.written import write
from medjax.types import ConfigError

KINDS = (
    ("layouts", re.compile(r"^(transpose|copy|wrapped_transpose|wrapped_copy)(?![a-z])|_copy_|^copy_")),
    ("products and sums", re.compile(r"^(ynn_fusion|dot|wrapped_reduce|reduce)")),
    ("elementwise", re.compile(r"fusion|^(concatenate|wrapped_|select|add|multiply|pad|slice)")),
)
REST = "convolutions and waiting"
_OPERATION = re.compile(r"^[a-z][a-z_\-]*(\.\d+)?$")  # as XLA names them; Python's and the runtime's have other signs


def shares(events: Sequence[dict[str, Any]], seconds: float) -> dict[str, float]:
    """Shares of `seconds` by kind; the rest is what no named operation covers."""
    spent: Counter[str] = Counter()
    for event in events:
        name = event.get("name", "")
        if event.get("ph") != "X" or not _OPERATION.match(name):
            continue
        kind = next((kind for kind, pattern in KINDS if pattern.search(name)), None)
        if kind:
            spent[kind] += event.get("dur", 0.0) / 1e6
    found = {kind: spent[kind] / seconds for kind, _ in KINDS}
    return {**found, REST: max(0.0, 1 - sum(found.values()))}


def measure(case: Case, *, steps: int) -> dict[str, Any]:
    """The row of a case."""
    from experiments.benchmarks import medjax_predict, medjax_step
    from medjax.build import config as configs

    options = {"config": case.config, "overrides": [*case.overrides, f"data.batch_size={case.batch}"]}
    training = case.task == "train"
    facts, run, _ = medjax_step.build(**options) if training else medjax_predict.build(**options, task=case.task)
    run(2)
    with tempfile.TemporaryDirectory() as folder:
        with medjax_step.jax.profiler.trace(folder, create_perfetto_trace=True):
            begun = time.perf_counter()
            run(steps)
            seconds = time.perf_counter() - begun
        (path,) = Path(folder).rglob("perfetto_trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    about = {"device_kind": facts["device_kind"], "versions": configs.versions(), "xla_flags": facts["xla_flags"]}
    told = {"case": case.name, "task": case.task, "batch": case.batch, "traced ms": 1000 * seconds / steps}
    return {**told, **shares(events, seconds), **about}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("train", "predict"), default="train")
    parser.add_argument("--only", default="", help="cases with one of these words, separated by commas, in their names")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    known = cases.TRAIN if args.task == "train" else cases.INFERENCE
    try:
        asked = cases.chosen(known, [word for word in args.only.split(",") if word])
    except ConfigError as error:
        parser.error(str(error))
    load, rows = os.getloadavg()[0], []
    for case in asked:
        rows.append(measure(case, steps=args.steps))
        told = ", ".join(f"{kind} {rows[-1][kind]:.0%}" for kind in (*(kind for kind, _ in KINDS), REST))
        print(f"{case.task} {case.name}, batch {case.batch}: {told}", flush=True)
    write(args.output, {"benchmark": "profile", "load": load, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
