"""The published models' steps and draws on an accelerator, each beside the least time that the device allows.

    python -m experiments.benchmarks.roofline [--precision=bfloat16,float32] [--only=WORD,...] [--output=RESULT.json]
    python -m experiments.benchmarks.roofline --reduced                          # tiny networks, on a CPU, in a minute or two

The step is the one `medjax train` runs, the draw the one of `predict`, each in a process of its own with random images. The floor
is the longer of the arithmetic, at `devices.ATTAINABLE` of the rate that the device attains, and of the bytes that must pass
through its memory whatever is fused: Adam's in training, the weights of every call in sampling. A device that `devices` does not
know has times and no floor. `experiments.gpu_check` prints the same table beside its other checks.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks import devices
from experiments.benchmarks.workers import Worker, WorkerError
from experiments.benchmarks.written import write
from medjax.build import config as configs
from medjax.types import ConfigError, MedjaxError

PRECISIONS = ("bfloat16", "float32")
WEIGHT_BYTES = 4  # of a parameter, stored as float32 and read once by every call of a network
NOTES = (
    "GFLOP: XLA's cost analysis of the program before it is compiled, for one step of the whole batch; it counts the body of a "
    "scan once, so that of sampling is multiplied by the calls of the denoiser",
    f"floor: the longer of GFLOP at {devices.ATTAINABLE:.0%} of the attainable rate and of {devices.ADAM_BYTES} bytes per "
    f"parameter (in sampling {WEIGHT_BYTES} for every call) at the memory's bandwidth; float32 products "
    "are taken to run as TF32 where the chip has it; the share of the floor is floor over time",
)
_BUILDS = {
    "train": "experiments.benchmarks.medjax_step:build",
    "sample": "experiments.benchmarks.medjax_predict:build",
}


class Case(NamedTuple):
    """`config` with `overrides` at `batch`, for a `task` of train or sample; in sampling the network is called `calls` times."""

    name: str
    config: str
    batch: int
    task: str = "train"
    overrides: tuple[str, ...] = ()
    calls: int = 1


def _sampling(config: str, name: str, batch: int, sampler: str, steps: int) -> Case:
    return Case(name, config, batch, "sample", (f"method.sampler={sampler}", f"method.steps={steps}"), steps)


_48_TO_192 = tuple(f"data.{name}=192" for name in ("crop_size", "load_size", "image_size"))
PUBLISHED = (
    Case("pix2pix 256", "pix2pix_cxr:paper", 1),
    Case("pix2pix 256", "pix2pix_cxr:paper", 64),
    Case("pix2pix 256", "pix2pix_cxr:paper", 256),
    Case("CycleGAN 256", "led_cyclegan:paper", 8),
    Case("RRDB of 23 blocks, 48 to 192", "esrgan:paper", 16, overrides=_48_TO_192),
    Case("DDPM 256", "led_diffusion:paper", 32),
    Case("ResNet-18 224", "classifier_cxr:paper", 64),
    Case("CGAN 128", "cgan_cxr:paper", 64),
    _sampling("led_diffusion:paper", "DDPM 256, DDIM of 50 steps", 16, "ddim", 50),
    _sampling("led_diffusion:paper", "DDPM 256, all 1000 steps", 16, "ddpm", 1000),
)
REDUCED = (
    Case("pix2pix", "pix2pix_cxr:tiny", 2),
    Case("CycleGAN", "led_cyclegan:tiny", 2),
    Case("RRDB", "esrgan:tiny", 2),
    Case("DDPM", "led_diffusion:tiny", 2),
    Case("ResNet-18", "classifier_cxr:tiny", 2),
    Case("CGAN", "cgan_cxr:tiny", 2),
    _sampling("led_diffusion:tiny", "DDPM, DDIM of 3 steps", 2, "ddim", 3),
)


def measure(case: Case, precision: str, *, slices: int = 3, seconds: float = 1.0) -> dict[str, Any]:
    """The row of one case: the median over `slices` of `seconds` each (at least one step), its range, and the floor beside it.

    Raises WorkerError where it fails, and MedjaxError where a result is not finite or the program was compiled again.
    """
    overrides = [*case.overrides, f"data.batch_size={case.batch}", f"train.precision={precision}", "train.ema=0.0"]
    configs.get(case.config, overrides)  # a wrong field ends here
    with Worker(_BUILDS[case.task], config=case.config, overrides=overrides) as worker:
        count = min(max(round(seconds / worker.slice(1)[0]), 1), 200)
        times = [worker.slice(count)[0] for _ in range(slices)]
        facts = {**worker.facts, **worker.finish()}
    if not facts["finite"]:
        raise MedjaxError(f"{case.name}: a result is not finite ({facts.get('terms', 'of a draw')})")
    if facts["recompiled"]:
        raise MedjaxError(f"{case.name}: the program was compiled again {facts['recompiled']} times")
    median = statistics.median(times)
    about = {"name": case.name, "config": case.config, "overrides": overrides, "task": case.task, "calls": case.calls}
    row = {
        **about, "batch": case.batch, "precision": precision, "ms": 1000 * median,
        "ms_range": [1000 * min(times), 1000 * max(times)], "slices": slices, "images_per_second": case.batch / median, **facts,
    }  # fmt: skip
    if facts.get("gflop"):
        row |= {"gflop": facts["gflop"] * case.calls, "tflops": facts["gflop"] * case.calls / median / 1000}
    return {**row, **beside(row)}


def beside(row: dict[str, Any]) -> dict[str, Any]:
    """The share of the device's peak, the floor in ms with what it is of, and its share of the time; {} for an unknown device."""
    kind, precision, parameters = row["device_kind"], row["precision"], sum(row["parameters"].values())
    known, attained = devices.peak(kind), devices.attainable(kind)
    if not row.get("gflop") or known is None or attained is None or not known.of(precision):
        return {}
    moved = parameters * (devices.ADAM_BYTES if row["task"] == "train" else WEIGHT_BYTES * row["calls"])
    parts = {
        "arithmetic": row["gflop"] * 1e9 / (devices.ATTAINABLE * attained.of(precision)),
        "bytes": moved / attained.bandwidth,
    }
    longer = max(parts, key=parts.__getitem__)
    return {
        "peak_share": row["tflops"] * 1e12 / known.of(precision), "peak_source": known.source, "floor_ms": 1000 * parts[longer],
        "floor_of": longer, "floor_share": 1000 * parts[longer] / row["ms"], "floor_source": attained.source,
    }  # fmt: skip


def figures(row: dict[str, Any]) -> str:
    """The row in words."""
    low, high = row["ms_range"]
    parts = [f"{row['ms']:.2f} ms ({low:.2f}-{high:.2f})", f"{row['images_per_second']:.1f} images/s"]
    if "peak_share" in row:
        floor = f"floor {row['floor_ms']:.2f} ms ({row['floor_of']}), {row['floor_share']:.0%} of it"
        parts += [f"{row['peak_share']:.1%} of peak", floor]
    memory = row["device_mb"] or (row["program_mb"] or {}).get("total") or row["rss_mb"]
    return ", ".join([*parts, f"compile {row['compile_s']:.0f} s", f"{memory / 1000:.2f} GB"])


def title(case: Case, precision: str) -> str:
    """What a table calls the row."""
    return f"{'step' if case.task == 'train' else 'draw'} {case.name} batch {case.batch} {precision}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each case; 0, or 1 where one failed and 2 for a wrong flag."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", action="store_true", help="tiny networks, which a CPU can step")
    parser.add_argument("--precision", default=",".join(PRECISIONS))
    parser.add_argument("--only", default="", help="cases whose name or config holds one of these words")
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    words = [word.lower() for word in args.only.split(",") if word]
    every = REDUCED if args.reduced else PUBLISHED
    cases = [c for c in every if not words or any(word in f"{c.name} {c.config}".lower() for word in words)]
    if not cases or not set(args.precision.split(",")) <= set(PRECISIONS):
        known = "; ".join(dict.fromkeys(case.name for case in every))
        parser.error(f"known: the precisions {', '.join(PRECISIONS)}; the cases {known}")
    rows, failed = [], []
    for precision in args.precision.split(","):
        for case in cases:
            try:
                rows.append(measure(case, precision, slices=args.slices, seconds=args.seconds))
                print(f"{title(case, precision)}: {figures(rows[-1])}", flush=True)
            except (WorkerError, ConfigError, MedjaxError) as error:
                failed.append({"case": title(case, precision), "error": str(error)})
                print(f"{title(case, precision)}: FAIL {error}", file=sys.stderr, flush=True)
    print("\n".join(NOTES))
    result = {"benchmark": "roofline", "reduced": args.reduced, "rows": rows, "failed": failed, "notes": NOTES}
    write(args.output, result)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
