"""How the training step scales over devices: on simulated ones, which prove that results are equal, and on paper.

    python -m experiments.benchmarks.scaling --config=pix2pix_cxr:tiny --devices=1,2,4,8 --each=2 --output=scaling.json
    python -m experiments.benchmarks.scaling --paper [--output=scaling_paper.json]

Each number of devices has a process of its own, and they take turns in slices of time. Simulated devices share the cores of one
CPU: n of them have n times the work of one and no more cores to do it, so that the time of a step grows with n, and what tells of
the cost of sharing is images per second against those of one device. `--paper` gives what real links cost (see `links`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks import links
from experiments.benchmarks.workers import Worker, WorkerError, environment
from experiments.benchmarks.written import write
from medjax.build import config as configs
from medjax.types import MedjaxError

NOTES = (
    "weak efficiency: the time of a step on one device over that on n, each with as many images; simulated devices share {cores} "
    "cores, so that {cores}/n is the most to be had from {cores} devices on",
    "images/s against one: what is left of one device's rate where all cores serve n devices; 1 is free sharing",
    "loss, parameters: the largest relative difference to one device after three float32 steps of the same batch; Adam turns the "
    "rounding of gradients that are zero into steps",
    "all-reduce MB: results of the compiled program's all-reduces in a step, on each device; gradients MB: 4 bytes a parameter",
)


def measure(
    config: str, *, overrides: Sequence[str] = (), devices: Sequence[int] = (1, 2, 4, 8), each: int = 2, split: bool = False,
    slices: int = 5, steps: int = 3,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row for every number of devices, 1 first; `slices` interleaved slices of `steps` steps."""
    configs.get(config, overrides)  # a wrong field ends here
    devices = sorted({1, *devices})
    options = {"config": config, "overrides": list(overrides), "each": each, "equal": each * max(devices), "split": split}
    with ExitStack() as stack:
        workers = {}
        for count in devices:
            with environment(XLA_FLAGS=_flags(count), JAX_PLATFORMS="cpu"):
                build = "experiments.benchmarks.scaling_step:build"
                workers[count] = stack.enter_context(Worker(build, devices=count, **options))
        times: dict[int, list[float]] = {count: [] for count in workers}
        for _ in range(slices):
            for count, worker in workers.items():
                times[count].append(worker.slice(steps)[0])
        ends = {count: worker.finish() for count, worker in workers.items()}
    return [_row(count, workers[count].facts, times, ends) for count in devices]


def _flags(count: int) -> str:
    """XLA's flags for so many simulated devices: on a busy machine they may wait long for each other."""
    patient = "--xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_collective_timeout_seconds=600"
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count} {patient}".strip()


def _row(count: int, facts: dict[str, Any], times: dict[int, list[float]], ends: dict[int, dict[str, Any]]) -> dict[str, Any]:
    step, one = statistics.median(times[count]), statistics.median(times[1])
    ours, theirs = ends[count], ends[1]
    losses = [abs(a[k] - b[k]) / abs(b[k]) for a, b in zip(ours["losses"], theirs["losses"], strict=True) for k in a]
    away = np.linalg.norm(ours["vector"] - theirs["vector"]) / np.linalg.norm(theirs["vector"])
    return {
        **facts, "ms": 1e3 * step, "ms_range": [1e3 * min(times[count]), 1e3 * max(times[count])], "slices": len(times[count]),
        "images_per_second": facts["batch"] / step, "weak_efficiency": one / step, "rate_to_one": count * one / step,
        "loss_difference": max(losses), "parameter_difference": float(away), "gradient_bytes": 4 * facts["parameters"],
        "rss_mb": ours["rss_mb"],
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in columns."""
    head = ("devices", "batch", "ms/step", "range", "images/s", "weak efficiency", "images/s against one", "loss", "parameters",
            "all-reduce MB", "gradients MB", "process MB")  # fmt: skip
    lines = [head]
    for r in rows:
        low, high = r["ms_range"]
        lines.append((
            str(r["devices"]), str(r["batch"]), f"{r['ms']:.1f}", f"{low:.1f}-{high:.1f}", f"{r['images_per_second']:.1f}",
            f"{r['weak_efficiency']:.2f}", f"{r['rate_to_one']:.2f}", f"{r['loss_difference']:.1e}",
            f"{r['parameter_difference']:.1e}", f"{r['bytes']['all-reduce'] / 1e6:.2f}", f"{r['gradient_bytes'] / 1e6:.2f}",
            f"{r['rss_mb']:.0f}",
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(word.rjust(n) for word, n in zip(line, widths, strict=True)) for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="pix2pix_cxr:tiny", help="NAME:VARIANT, as for medjax train")
    parser.add_argument("--devices", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--each", type=int, default=2, help="images on each device")
    parser.add_argument("--fsdp", action="store_true", help="large parameters in parts")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of each slice")
    parser.add_argument("--paper", action="store_true", help="the cost of real links, by arithmetic")
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    args, rest = parser.parse_known_args(argv)
    about = {"benchmark": "scaling", "versions": configs.versions(), "cores": len(os.sched_getaffinity(0))}
    try:
        if args.paper:
            rows = links.rows()
            about |= {"on": "paper", "device": links.DEVICE, "precision": links.PRECISION, "links": links.LINKS}
            print(links.markdown(rows))
        else:
            overrides = [word.removeprefix("--config.") for word in rest]
            options = {"devices": args.devices, "each": args.each, "split": args.fsdp, "slices": args.slices, "steps": args.steps}
            rows = measure(args.config, overrides=overrides, **options)
            notes = [note.format(cores=about["cores"]) for note in NOTES]
            about |= {"on": "simulated devices", "config": args.config, "overrides": overrides, **options, "notes": notes}
            print("\n".join((table(rows), *notes)))
    except (MedjaxError, WorkerError) as error:
        print(f"scaling: {error}", file=sys.stderr)
        return 1
    write(args.output, {**about, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
