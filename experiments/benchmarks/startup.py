"""How long a training run takes to its first step, with an empty compilation cache and with a filled one, and where that goes.

    python -m experiments.benchmarks.startup [--config=pix2pix_cxr:small,restorer_cxr:tiny] [--repeats=3] [--output=RESULT.json]
        [--config.FIELD=VALUE ...]

Each start is a fresh process that does what `medjax train` does, stopped after its second step. Cold: an empty folder for
`train.compilation_cache`; warm: the folder that the cold start before it left. The time begins before the process does, and ends
when the first step's result is there. Python's own files are in the system's memory in either case.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.written import write
from medjax import set_cpu_flags
from medjax.build import config as configs
from medjax.types import ConfigError

NOTES = (
    "import: the interpreter and every library; data: the source opened and split, the first batch read, files verified; trace: "
    "Python to jaxpr; lower: jaxpr to StableHLO; compile: XLA, or reading what it made from the cache; rest: the parameters "
    "drawn, the workdir written, the first step; next step: from the first step's result to the second's",
    "MB: the process's peak up to the second step, compiler included",
)
EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
HIT = "/jax/compilation_cache/cache_hits"
PARTS = ("import_s", "data_s", "trace_s", "lower_s", "compile_s", "rest_s", "next_step_s")
_BEGUN = "MEDJAX_STARTUP_BEGUN"  # by time.time(), which both processes share


# ------------------------------------------------------------------------------------------- in the child process


def child(config: str, overrides: Sequence[str], workdir: str) -> None:
    """Train for two steps; prints what `parts_of` is told, the cache's hits and the process's peak memory, and ends at once."""
    set_cpu_flags()
    import jax

    from experiments.benchmarks.workers import peak_rss
    from medjax.build import training

    marks, spent = {"command": float(os.environ[_BEGUN]), "imported": time.time()}, {"data": 0.0}
    events: list[tuple[str, float, float]] = []
    hits: list[str] = []

    def listen(name: str, seconds: float, **_: Any) -> None:
        if name in EVENTS:
            events.append((EVENTS[name], time.time() - seconds, time.time()))

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name == HIT else None)

    def mark(step: int, state: Any, metrics: Any) -> None:
        jax.block_until_ready((state, metrics))
        marks["first_step" if step == 1 else "second_step"] = time.time()
        if step == 1:
            marks["events"] = len(events)
            return
        told = {"marks": marks, "spent": spent, "events": events[: marks.pop("events")], "hits": len(hits), "rss_mb": peak_rss()}
        print(json.dumps(told | {"versions": configs.versions()}), flush=True)
        os._exit(0)  # neither a last validation nor a checkpoint

    with _timed(training.build_data, "open_data", spent), _timed_batches(training.build_data, spent), \
            _timed(training, "verify", spent):  # fmt: skip
        training.train(configs.get(config, overrides), workdir, hooks=[(1, mark)], say=lambda text: None)


@contextlib.contextmanager
def _timed(module: Any, name: str, spent: dict[str, float]) -> Iterator[None]:
    """The calls of a function of a module, on the clock of the data."""
    before = getattr(module, name)
    setattr(module, name, _counted(before, spent))
    try:
        yield
    finally:
        setattr(module, name, before)


def _counted(function: Callable, spent: dict[str, float]) -> Callable:
    def run(*args: Any, **options: Any) -> Any:
        clock = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            spent["data"] += time.perf_counter() - clock

    return run


@contextlib.contextmanager
def _timed_batches(module: Any, spent: dict[str, float]) -> Iterator[None]:
    """The making of the first batch, likewise; later ones are read while the device works."""
    before, first = module.train_batches, []

    def train_batches(*args: Any, **options: Any) -> Callable[[int], Iterator]:
        made = before(*args, **options)

        def batches(start: int) -> Iterator:
            found = made(start)
            if not first:
                first.append(_counted(next, spent)(found))
                yield first[0]
            yield from found

        return batches

    module.train_batches = train_batches
    try:
        yield
    finally:
        module.train_batches = before


# ----------------------------------------------------------------------------------------------------- the parent


def parts_of(marks: dict[str, float], spent: dict[str, float], events: Sequence[Sequence]) -> dict[str, float]:
    """Seconds of a start by `PARTS`, and `total_s`, to the first step; `next_step_s` lies behind it.

    events: (trace, lower or compile, its beginning, its end); what lies within another of its kind, as the trace of a jitted
    function that a traced one calls, counts once.
    """
    of = lambda name: _covered([(begun, ended) for kind, begun, ended in events if kind == name])
    found = {
        "total_s": marks["first_step"] - marks["command"],
        "import_s": marks["imported"] - marks["command"],
        "data_s": spent["data"],
        **{f"{name}_s": of(name) for name in ("trace", "lower", "compile")},
    }
    rest = found["total_s"] - sum(value for name, value in found.items() if name != "total_s")
    return {**found, "rest_s": rest, "next_step_s": marks["second_step"] - marks["first_step"]}


def _covered(intervals: Sequence[tuple[float, float]]) -> float:
    """The length of the union."""
    total, reached = 0.0, float("-inf")
    for begun, ended in sorted(intervals):
        total += max(0.0, ended - max(begun, reached))
        reached = max(reached, ended)
    return total


def start(config: str, overrides: Sequence[str], folder: Path, cache: Path) -> dict[str, Any]:
    """One start in a process of its own: its parts, hits of the cache and memory. Raises RuntimeError where it fails."""
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        quiet = ("train.tensorboard=False", "train.progress=False", f"train.compilation_cache={cache}", "train.steps=1000")
        never = tuple(f"train.{name}_every=1000000" for name in ("eval", "save", "sample", "log"))
        words = [f"--config.{text}" for text in (*overrides, *quiet, *never)]
        command = [sys.executable, "-m", "experiments.benchmarks.startup", f"--config={config}", f"--child={workdir}", *words]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMPILATION_CACHE", "JAX_PERSISTENT"))}
        done = subprocess.run(command, capture_output=True, text=True, env={**environment, _BEGUN: repr(time.time())})
    if done.returncode or not done.stdout.strip():
        raise RuntimeError((done.stderr.strip().splitlines() or [f"the process ended with status {done.returncode}"])[-1])
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return {**told, "parts": parts_of(told["marks"], told["spent"], told["events"])}


def measure(config: str, overrides: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Two rows, cold and warm: of every part the median and range over `repeats` starts."""
    starts: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(repeats):
            for found in starts.values():
                found.append(start(config, overrides, Path(name), Path(name) / f"cache_{number}"))
    rows = []
    for cache, found in starts.items():
        several = {part: [one["parts"][part] for one in found] for part in ("total_s", *PARTS)}
        rows.append({
            "config": config, "overrides": list(overrides), "cache": cache, "repeats": repeats,
            "parts": {p: {"median": statistics.median(x), "range": [min(x), max(x)]} for p, x in several.items()},
            "rss_mb": statistics.median(one["rss_mb"] for one in found), "cache_hits": [one["hits"] for one in found],
            "versions": found[0]["versions"],
        })  # fmt: skip
    return rows


def told(row: dict[str, Any]) -> str:
    """A row in words."""
    low, high = row["parts"]["total_s"]["range"]
    parts = ", ".join(f"{name.removesuffix('_s').replace('_', ' ')} {row['parts'][name]['median']:.2f}" for name in PARTS)
    return f"{row['config']} {row['cache']}: {row['parts']['total_s']['median']:.2f} s ({low:.2f}-{high:.2f}); {parts}; " \
           f"{row['rss_mb']:.0f} MB"  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each config and cache; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="pix2pix_cxr:small,restorer_cxr:tiny", help="NAME:VARIANT, several with commas")
    parser.add_argument("--repeats", type=int, default=3, help="starts of each kind")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args, rest = parser.parse_known_args(argv)
    if wrong := [word for word in rest if not word.startswith("--config.") or "=" not in word]:
        parser.error(f"unknown argument {wrong[0]}")
    overrides = [word.removeprefix("--config.") for word in rest]
    if args.child:
        child(args.config, overrides, args.child)
        return 0
    load, clock, rows = os.getloadavg()[0], time.perf_counter(), []
    try:
        for config in args.config.split(","):
            configs.get(config, overrides)
            rows += measure(config, overrides, args.repeats)
            print("\n".join(told(row) for row in rows[-2:]), flush=True)
    except (ConfigError, RuntimeError) as error:
        print(f"startup: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)
    print("\n".join(NOTES))
    result = {"benchmark": "startup", "load": load, "seconds": time.perf_counter() - clock, "rows": rows, "notes": NOTES}
    write(args.output, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
