"""Images drawn by a denoiser: compilations, time and memory against the number of steps.

    python -m experiments.benchmarks.sampling [--config=led_diffusion:small] [--size=128] [--batch=4] [--steps=10,50,200]
        [--output=RESULT.json] [--config.FIELD=VALUE ...]

The network of the config with fresh weights, as what it draws does not change the time. For each sampler and number of steps:
how many programs are traced for all draws (1), seconds of the first draw and per image of the others, and the bytes that the
compiled program holds beside its arguments and its result, which do not depend on the number of steps.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from medjax import set_cpu_flags

set_cpu_flags()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from experiments.benchmarks.written import write  # noqa: E402
from medjax.build import config as configs  # noqa: E402
from medjax.build import diffusion, networks, trained  # noqa: E402
from medjax.types import MedjaxError  # noqa: E402

DRAWS = 5


def measure(config: Any, *, sampler: str, steps: int, size: int, batch: int) -> dict[str, Any]:
    """One row: a sampler, a number of steps."""
    config = diffusion.resampled(config, {"sampler": sampler, "steps": steps})
    config.data.update(image_size=size, load_size=size, crop_size=size)
    objective, key = networks.objective(config, 1), jax.random.key(0)
    given = trained.blank(config, batch_size=batch)
    state = jax.jit(objective.init)(key, given)
    seen, traced = {"source": given["source"], "index": np.arange(batch, dtype=np.int32)}, []

    def draw(state: Any, seen: dict[str, Any], key: Any) -> Any:
        traced.append(steps)
        return objective.sample(state, seen, key)["target"]

    run, seconds = jax.jit(draw), []
    for i in range(1 + DRAWS):  # the first one compiles
        begun = time.perf_counter()
        result = run(state, seen, jax.random.fold_in(key, i)).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    traces = len(traced)
    memory = run.lower(state, seen, key).compile().memory_analysis()
    return {
        "sampler": sampler,
        "steps": steps,
        "compiled": traces,
        "first_seconds": seconds[0],
        "seconds_per_image": median(seconds[1:]) / batch,
        "range": [min(seconds[1:]) / batch, max(seconds[1:]) / batch],
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        "finite": bool(np.isfinite(result).all()),
    }


def told(row: dict[str, Any]) -> str:
    """A row in words."""
    low, high = (1e3 * seconds for seconds in row["range"])
    return (
        f"{row['sampler']:6} {row['steps']:4} steps: {row['compiled']} compiled, the first draw {row['first_seconds']:.1f} s, "
        f"{row['seconds_per_image'] * 1e3:.0f} ms per image ({low:.0f}-{high:.0f}), {row['temporary_mib']:.1f} MiB"
    )


def main(argv: list[str] | None = None) -> int:
    """Print a row for each sampler and number of steps; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="led_diffusion:small")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", default="10,50,200")
    parser.add_argument("--samplers", default=",".join(("ddpm", "ddim", "dpm2m")))
    parser.add_argument("--output", type=Path)
    args, rest = parser.parse_known_args(argv)
    rows, load = [], os.getloadavg()[0]
    try:
        config = configs.get(args.config, [word.removeprefix("--config.") for word in rest])
        for sampler in args.samplers.split(","):
            for steps in map(int, args.steps.split(",")):
                rows.append(measure(config, sampler=sampler, steps=steps, size=args.size, batch=args.batch))
                print(told(rows[-1]), flush=True)
    except MedjaxError as error:
        print(f"sampling: {error}", file=sys.stderr)
        return error.exit_status
    asked = {"benchmark": "sampling", "title": args.config, "overrides": rest, "size": args.size, "batch": args.batch}
    about = {"load": load, "device_kind": jax.devices()[0].device_kind, "versions": configs.versions()}
    write(args.output, {**asked, **about, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
