"""How long one training step of a config takes, what it costs, and how that compares with PyTorch.

    python -m experiments.benchmarks.train_step --config=pix2pix_cxr:paper --batch=1,4 --precision=float32 --slices=5 --peer

The step is the one `medjax train` runs: the config's own objective through `train_step`, jitted, with the state donated,
on one random batch handed over as numpy. Each implementation has a process of its own and they take turns in slices of
time; the figure is the median over slices, with the range. `--peer` adds the same networks, losses and Adam in PyTorch,
eager and channels_last, where torch is installed. Config fields are set as in `medjax train` (`--config.FIELD=VALUE`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from experiments.benchmarks import devices
from experiments.benchmarks.workers import Worker, WorkerError
from medjax.build import config as configs
from medjax.types import ConfigError, MedjaxError

_WARM_UP = 2
BUSY = "the machine is busy (load {:.1f}): its figures, and ratios of threaded libraries most of all, are not an idle machine's"
NOTES = (
    "GFLOP: XLA's cost analysis of the program before it is compiled; it counts every product, elementwise work and each "
    "transcendental once, leaves out what convolutions would multiply with padding, and counts the body of a scan once",
    "CPU ms: the work of all cores per step, which a busy machine changes less than the clock (waiting threads that spin count)",
    "program MB: arguments, outputs and temporaries of the compiled step, donated buffers once; process MB: the peak of the "
    "whole process while stepping, libraries included; recompiled: compilations after the first step",
)


def torch_missing() -> bool:
    """Whether there is no PyTorch here."""
    return importlib.util.find_spec("torch") is None


def peers(config: str, overrides: Sequence[str], precision: str) -> dict[str, dict]:
    """{name: options of `peers.build`} for a config that has a peer. Raises ConfigError where it has none."""
    c = configs.get(config, overrides)
    m, g, d = c.method, c.generator, c.get("discriminator", {})
    plain = m.name == "pix2pix" and (m.adversary, m.reconstruction, m.reconstruction_weight) == ("vanilla", "l1", 100.0)
    if not plain or m.feature_matching_weight or g.name != "unet" or g.attention_at or g.norm != "batch" or d.scales != 1:
        raise ConfigError(f"{config} has no peer in PyTorch: only pix2pix as published (U-Net, one PatchGAN) has one")
    options = {
        "batch": c.data.batch_size,
        "size": c.data.crop_size,
        "precision": precision,
        "generator": {"features": g.features, "dropout": g.dropout},
        "discriminator": {"features": d.features, "layers": d.layers},
        "learning_rate": c.optimizer.learning_rate,
    }
    return {f"torch {form}": {"form": form, **options} for form in ("eager", "channels_last")}


def measure(
    config: str,
    *,
    overrides: Sequence[str] = (),
    batch: int = 1,
    precision: str = "float32",
    slices: int = 5,
    seconds: float = 1.0,
    peer: bool = False,
) -> list[dict[str, Any]]:
    """A row for medjax and, with `peer`, one for each form in PyTorch; `slices` interleaved slices of `seconds` each.

    Raises WorkerError where an implementation fails, and MedjaxError for a config that cannot be used.
    """
    overrides = [*overrides, f"data.batch_size={batch}", f"train.precision={precision}"]
    configs.get(config, overrides)  # a wrong field ends here
    jobs = {"medjax": ("experiments.benchmarks.medjax_step:build", {"config": config, "overrides": overrides})}
    if peer:
        chosen = peers(config, overrides, precision)
        jobs |= {name: ("experiments.benchmarks.peers:build", options) for name, options in chosen.items()}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(build, **options)) for name, (build, options) in jobs.items()}
        counts = {}
        for name, worker in workers.items():
            worker.slice(_WARM_UP)
            counts[name] = min(max(round(seconds / worker.slice(1)[0]), 1), 200)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
        for _ in range(slices):
            for name, worker in workers.items():
                times[name].append(worker.slice(counts[name]))
        return [
            _row(name, config, batch, precision, times, {**worker.facts, **worker.finish()})
            for name, worker in workers.items()
        ]


def _row(name: str, config: str, batch: int, precision: str, times: dict[str, list[tuple[float, float]]], facts: dict) -> dict:
    """One line of the table and what stands behind it; times in milliseconds."""
    clock, work = zip(*times[name], strict=True)
    step = statistics.median(clock)
    row = {
        "implementation": name, "config": config, "batch": batch, "precision": precision,
        "ms": 1000 * step, "ms_range": [1000 * min(clock), 1000 * max(clock)], "slices": len(clock),
        "cpu_ms": 1000 * statistics.median(work),
        "images_per_second": batch / step, **facts,
    }  # fmt: skip
    if name != "medjax":
        row["medjax_ratio"] = statistics.median(wall for wall, _ in times["medjax"]) / step
    if facts.get("gflop"):
        row["tflops"] = facts["gflop"] / step / 1000
        known = devices.peak(facts["device_kind"])
        if known and known.of(precision):
            row |= {"peak_share": 1e12 * row["tflops"] / known.of(precision), "peak_source": known.source}
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in columns; a dash where something is not known."""
    put = lambda value, text: "-" if value is None else format(value, text)
    head = ("implementation", "batch", "precision", "ms/step", "range", "CPU ms", "images/s", "GFLOP", "TFLOP/s", "of peak",
            "compile s", "recompiled", "program MB", "process MB", "device MB", "medjax/this")  # fmt: skip
    lines = [head]
    for r in rows:
        low, high = r["ms_range"]
        program = (r.get("program_mb") or {}).get("total")
        lines.append((
            r["implementation"], str(r["batch"]), r["precision"], f"{r['ms']:.1f}", f"{low:.1f}-{high:.1f}", f"{r['cpu_ms']:.0f}",
            f"{r['images_per_second']:.2f}", put(r.get("gflop"), ".1f"), put(r.get("tflops"), ".3f"),
            put(r.get("peak_share"), ".1%"), put(r.get("compile_s"), ".1f"), put(r.get("recompiled"), "d"),
            put(program, ".0f"), put(r["rss_mb"], ".0f"), put(r.get("device_mb"), ".0f"), put(r.get("medjax_ratio"), ".2f"),
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    pad = lambda line: "  ".join([line[0].ljust(widths[0]), *(w.rjust(n) for w, n in zip(line[1:], widths[1:], strict=True))])
    return "\n".join(pad(line) for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda kind: lambda text: [kind(word) for word in text.split(",")]
    parser.add_argument("--config", default="pix2pix_cxr:paper", help="NAME:VARIANT, as for medjax train")
    parser.add_argument("--batch", type=words(int), default=[1], help="batch sizes, separated by commas")
    parser.add_argument("--precision", type=words(str), default=["float32"], help="float32, bfloat16 or both")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice, roughly; at least one step")
    parser.add_argument("--peer", action="store_true", help="beside PyTorch, where it is installed")
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    args, rest = parser.parse_known_args(argv)
    if wrong := [word for word in rest if not word.startswith("--config.") or "=" not in word]:
        parser.error(f"unknown argument {wrong[0]}")
    try:
        return _run(args, [word.removeprefix("--config.") for word in rest])
    except (MedjaxError, WorkerError) as error:
        print(f"train_step: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)


def _run(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    peer = args.peer and not torch_missing()
    if args.peer and not peer:
        print("--peer: PyTorch is not installed here, so medjax is timed alone.")
    rows: list[dict[str, Any]] = []
    if (load := os.getloadavg()[0]) > 0.5:
        print(BUSY.format(load))
    for precision in args.precision:
        for batch in args.batch:
            rows += measure(
                args.config, overrides=overrides, batch=batch, precision=precision, slices=args.slices,
                seconds=args.seconds, peer=peer,
            )  # fmt: skip
    first = rows[0]
    print(f"{' '.join([args.config, *overrides])} on {first['device_kind']} ({first['platform']}, {first['threads']} cores)")
    print(", ".join(f"{name}: {n:,} parameters" for name, n in first["parameters"].items()))
    print(table(rows))
    for note in (*NOTES, f"XLA_FLAGS: {first['xla_flags'] or 'none'}", "versions: " + json.dumps(first["versions"])):
        print(note)
    if args.output:
        about = {"benchmark": "train_step", "config": args.config, "overrides": overrides, "load": load}
        result = {**about, "rows": rows, "notes": NOTES}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
