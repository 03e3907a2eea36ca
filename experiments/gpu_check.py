"""One command for a machine with a GPU: does everything run, does a run resume to the same bits, how fast is the step?

    python -m experiments.gpu_check [--output=gpu_check.json] [--minutes=30] [--reduced]

In under half an hour: every config's `tiny` variant trained on phantoms; one of those runs cut back to an earlier checkpoint,
resumed in a fresh process and compared to the bit (with deterministic kernels); then the published models' training steps and
draws in bfloat16 and float32, with kernels as fast as they come, as a share of the device's peak and of the least time they could
take (`experiments.benchmarks.roofline`); memory. A table comes last; the exit status is 1 if anything failed. Nothing is
downloaded. On a CPU, or with --reduced, the check is reduced: tiny networks and batch 2. What --minutes leaves no time for is
skipped, and the table says so.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from experiments.benchmarks import roofline
from experiments.benchmarks.workers import WorkerError, environment
from experiments.benchmarks.written import write
from medjax.build import config as configs
from medjax.types import ConfigError, MedjaxError
from medjax.writers import read_metrics

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
_REDUCED = "reduced: tiny networks, batch 2; these times say nothing about the published sizes"


# ------------------------------------------------------------------------------- what runs in a process of its own


def device() -> dict[str, Any]:
    """Platform, kind and versions, read where jax may take the device."""
    import jax

    first = jax.devices()[0]
    limit = (first.memory_stats() or {}).get("bytes_limit")
    return {
        "platform": first.platform, "device_kind": first.device_kind, "versions": configs.versions(),
        "memory_gb": limit / 1e9 if limit else None,
    }  # fmt: skip


def run_tiny(name: str, workdir: str, deterministic: bool) -> dict[str, Any]:
    """Train (or resume) `name:tiny` in `workdir`: last metrics, a digest of the state, what it said."""
    from medjax import set_cpu_flags

    set_cpu_flags()
    from medjax.build import training

    said: list[str] = []
    config = configs.get(f"{name}:tiny", [f"train.deterministic={deterministic}", "train.tensorboard=False"])
    state = training.train(config, workdir, say=said.append)
    rows = [{k: v for k, v in row.items() if k != "time"} for row in read_metrics(workdir)]
    last = {name: value for row in rows for name, value in row.items()}
    return {**last, "steps": int(state.step), "digest": digest(state), "rows": rows, "said": said}


def digest(tree: Any) -> str:
    """SHA-256 over path, type, shape and bytes of every array of a pytree."""
    import jax
    import numpy as np

    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def apart(function: Callable[..., dict], *args: Any) -> dict[str, Any]:
    """`function(*args)` in a fresh process, which gives the device back when it ends."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


# ------------------------------------------------------------------------------------------------- the checks


class Report:
    """The rows of the table; a check that fails is recorded, and the next one runs."""

    def __init__(self, minutes: float) -> None:
        self.rows: list[dict[str, Any]] = []
        self.start = time.monotonic()
        self.end = self.start + 60 * minutes

    def check(self, name: str, run: Callable[[], dict[str, Any]], *, needs: float = 0.0) -> dict[str, Any]:
        """Run one check, unless fewer than `needs` seconds are left; `run` returns at least {"figures": str}."""
        start = time.monotonic()
        if start + needs > self.end:
            row = {"result": "skipped", "figures": f"no time: it needs about {needs:.0f} s"}
        else:
            try:
                row = {"result": "ok", **run()}
            except Exception as error:  # whatever it is, the other checks are still worth running
                row = {"result": "FAIL", "figures": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"}
        row = {"check": name, **row, "seconds": time.monotonic() - start}
        self.rows.append(row)
        print(f"[{time.monotonic() - self.start:5.0f} s] {name}: {row['result']}", flush=True)
        return row

    def table(self) -> str:
        """Name, result and figures of every check."""
        width = max(len(row["check"]) for row in self.rows)
        return "\n".join(f"{row['check']:{width}}  {row['result']:7}  {row['figures']}" for row in self.rows)


def smoke(name: str, workdir: Path, deterministic: bool) -> dict[str, Any]:
    """Train one tiny run."""
    found = apart(run_tiny, name, str(workdir), deterministic)
    scores = {name: found[name] for name in ("g_loss", "psnr") if found.get(name) is not None}
    figures = [f"{found['steps']} steps", *(f"{name} {value:.4g}" for name, value in scores.items())]
    return {"figures": ", ".join(figures), "run": found}


def resume(name: str, workdir: Path, whole: dict[str, Any], deterministic: bool) -> dict[str, Any]:
    """Cut a copy of a finished run back to its first checkpoint, run it again, and compare state and metrics."""
    copy = workdir.with_name(workdir.name + "_resumed")
    shutil.copytree(workdir, copy)
    steps = sorted(int(p.name) for p in (copy / "checkpoints").iterdir() if p.name.isdigit())
    for step in steps[1:]:
        shutil.rmtree(copy / "checkpoints" / str(step))
    again = apart(run_tiny, name, str(copy), deterministic)
    if f"resuming at step {steps[0]}" not in again["said"] or len(steps) < 2:
        raise MedjaxError(f"the run did not resume from a checkpoint (checkpoints {steps}; it said {again['said']})")
    if again["digest"] != whole["digest"]:
        raise MedjaxError(f"the state after resuming at step {steps[0]} differs from the unbroken run's")
    if again["rows"] != whole["rows"]:
        raise MedjaxError(f"metrics.jsonl after resuming at step {steps[0]} differs from the unbroken run's")
    return {"figures": f"resumed at step {steps[0]} of {again['steps']}: state and metrics equal to the bit"}


def timed(case: roofline.Case, precision: str) -> dict[str, Any]:
    """One row of the table of published models."""
    row = roofline.measure(case, precision, seconds=0.5)
    return {"figures": roofline.figures(row), "step": row}


def run(names: Sequence[str], *, quick: bool, minutes: float) -> dict[str, Any]:
    """All checks on the configs `names`; returns what --output writes."""
    report = Report(minutes)
    about = apart(device)
    on_gpu = about["platform"] == "gpu"
    quick = quick or not on_gpu
    kind = about["device_kind"] + (f", {about['memory_gb']:.0f} GB" if about["memory_gb"] else "")
    print(f"{kind} ({about['platform']}); {' '.join(f'{k} {v}' for k, v in about['versions'].items())}")
    notes = list(roofline.NOTES) if on_gpu else [f"no GPU was found: this ran on {about['platform']}"]
    notes += [_REDUCED] if quick else []
    flags = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip() if on_gpu else os.environ.get("XLA_FLAGS", "")
    main_config = "pix2pix_cxr" if "pix2pix_cxr" in names else names[0]
    with tempfile.TemporaryDirectory() as folder, environment(XLA_FLAGS=flags):
        for name in names:
            row = report.check(f"smoke {name}:tiny", partial(smoke, name, Path(folder) / name, on_gpu))
            whole = row.pop("run", None)
            if name == main_config and whole:
                report.check(f"resume {name}:tiny", partial(resume, name, Path(folder) / name, whole, on_gpu))
    needs = 0.0
    for precision in roofline.PRECISIONS:
        for case in roofline.REDUCED if quick else roofline.PUBLISHED:
            if case.config.partition(":")[0] in names:
                row = report.check(roofline.title(case, precision), partial(timed, case, precision), needs=needs)
                needs = max(needs, row["seconds"])
    print("\n" + report.table() + "\n" + "\n".join(notes))
    return {"benchmark": "gpu_check", "quick": quick, **about, "rows": report.rows, "notes": notes,
            "seconds": time.monotonic() - report.start}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the check; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", "--quick", action="store_true", dest="quick", help="which is what a CPU always gets")
    parser.add_argument("--minutes", type=float, default=30.0, help="no check starts that would end later")
    parser.add_argument("--configs", help="only these configs, separated by commas (default: all)")
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    args = parser.parse_args(argv)
    names = args.configs.split(",") if args.configs else configs.names()
    try:
        for name in names:
            configs.get(f"{name}:tiny")
        result = run(names, quick=args.quick, minutes=args.minutes)
    except (ConfigError, WorkerError) as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2
    write(args.output, result)
    return 1 if any(row["result"] == "FAIL" for row in result["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
