"""A volume through a trained run: time per slice and memory.

    python -m experiments.benchmarks.volume --workdir=runs/t2 --volume=FILE [--output=RESULT.json]

Enhances the volume twice in this process (the first time compiles) and prints the second's milliseconds per slice, the
process's peak memory before and after in MiB, and whether the grid was kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np


def measure(workdir: Path, path: Path) -> dict:
    """The figures for one run and one volume."""
    from medjax.build import config, evaluation, volumes
    from medjax.data import slices
    from medjax.formats.volume import read_volume, to_ras

    peak = lambda: round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)  # noqa: E731
    model, volume = evaluation.load(workdir), read_volume(path)
    plane, before, seconds = volumes.options_of(model.config).plane, peak(), []
    for _ in range(2):
        start = time.perf_counter()
        result = volumes.enhance_volume(model, volume)
        seconds.append(time.perf_counter() - start)
    return {
        "shape": list(volume.values.shape),
        "seconds": seconds,
        "ms_per_slice": seconds[1] / to_ras(volume).values.shape[slices.plane_axis(plane)] * 1e3,
        "peak_mib": {"before": before, "after": peak(), "one_float32_copy": round(volume.values.nbytes / 2**20, 1)},
        "same_affine": bool(np.array_equal(result.affine, volume.affine)),
        "same_shape": result.values.shape == volume.values.shape,
        "versions": config.versions(),
    }


def main(argv: list[str] | None = None) -> int:
    """Print the figures; 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--volume", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    found = measure(args.workdir, args.volume)
    print(json.dumps(found, indent=2))
    if args.output:
        args.output.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
