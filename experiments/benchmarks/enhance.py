"""Enhancing large radiographs: does the tile show, and how much memory does a large image cost?

    python -m experiments.benchmarks.enhance --workdir=runs/restorer --image=FILE [--output=RESULT.json]

Scales FILE to 2048x2500 at 16 bits and enhances it with tiles of 256 and 512 (largest interior difference, in grey
levels of 255); then enhances square copies of 1024 and 4096 pixels, file to file and each in a process of its own, and
gives the difference of their peak memory in float32 copies of the larger image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np


def write_scaled(source: Path, target: Path, shape: tuple[int, int]) -> None:
    """`source` resized to `shape` as a 16-bit PNG."""
    from medjax import formats
    from medjax.data.augment import resize

    image, _ = formats.read(source)
    formats.write(target, resize(image, shape).clip(0, 1), formats.encoding("png", "uint16"))


def tile_difference(workdir: Path, image: Path, folder: Path, tiles: tuple[int, int] = (256, 512)) -> dict:
    """Outputs of both tile sizes compared away from the border; and what of the file was kept."""
    from medjax import formats
    from medjax.build import evaluation

    write_scaled(image, folder / "large.png", (2500, 2048))
    outputs, seconds = [], []
    for tile in tiles:
        begun = time.perf_counter()
        evaluation.enhance(workdir, [folder / "large.png"], folder / f"tile{tile}", scale="native", tile=tile, progress=False)
        seconds.append(time.perf_counter() - begun)
        outputs.append(formats.read(folder / f"tile{tile}" / "large.png"))
    (a, kept), (b, _) = outputs
    inside = np.abs(a - b)[64:-64, 64:-64]
    return {
        "shape": list(a.shape),
        "dtype": kept.dtype,
        "largest_difference_of_255": float(inside.max() * 255),
        "mean_difference_of_255": float(inside.mean() * 255),
        "seconds": seconds,
    }


def own_peak_mib() -> float:
    """This process's peak; not getrusage's, which starts at the parent's."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def peak_mib(workdir: Path, image: Path, folder: Path, side: int) -> float:
    """Peak resident memory of a process that enhances one square image of `side`, in MiB."""
    target = folder / f"square{side}.png"
    write_scaled(image, target, (side, side))
    command = [sys.executable, "-m", "experiments.benchmarks.enhance", f"--workdir={workdir}", f"--image={target}", "--child"]
    done = subprocess.run([*command, f"--output={folder / f'out{side}'}"], check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    from medjax.build import config, evaluation

    if args.child:
        evaluation.enhance(args.workdir, [args.image], args.output, scale="native", progress=False, overwrite=True)
        print(own_peak_mib())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {"tiles": tile_difference(args.workdir, args.image, folder)}
        peaks = {side: peak_mib(args.workdir, args.image, folder, side) for side in (1024, 4096)}
    copy_mib = 4096 * 4096 * 4 / 2**20
    result["peak_mib"] = {str(k): round(v, 1) for k, v in peaks.items()}
    result["growth_in_copies_of_the_large_image"] = (peaks[4096] - peaks[1024]) / copy_mib
    result["versions"] = config.versions()
    print(json.dumps(result, indent=2))
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
