"""The whole road in a few minutes: phantom radiographs, training, evaluation, enhancement, a report with pictures.

    python -m experiments.quickstart --workdir=runs/quickstart          (make quickstart)

Trains the small residual restorer on simulated chest radiographs degraded as paper 000 degrades its images (noise
sigma 15, 3x3 blur, JPEG 50), scores it on phantoms it has not seen beside the degraded input and tuned classical
denoisers, enhances three 16-bit files, and ends with the path of `report.html`. Interrupted, it resumes. About six
minutes on 2 CPU cores; it needs no data and no network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import common

OVERRIDES = (
    "data.source=phantom_cxr",
    "data.phantom_cxr.count=200",
    "train.steps=3000",
    "train.eval_every=500",
    "train.save_every=500",
    "train.sample_every=1500",
)


def write_examples(folder: Path, count: int, size: int = 320) -> list[Path]:
    """`count` degraded phantoms that no split holds, as 16-bit PNG files of another size than the model was trained on."""
    from medjax import formats
    from medjax.data import augment, degrade
    from medjax.data.phantom import radiograph
    from medjax.rng import generator

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(count):
        phantom = radiograph(1, i, size=256)
        image = (phantom.image.astype("float32") / 65535)[:, :, None]
        damaged = degrade.degrade(image, generator(1, "quickstart", i))
        path = folder / f"phantom_{i}.png"
        encoding = formats.Encoding(format="png", dtype="uint16", low=0, high=65535, channels=1)
        formats.write(path, augment.resize(damaged, (size, size)), encoding)
        paths.append(path)
    return paths


def run(workdir: Path, overrides: Sequence[str] = ()) -> Path:
    """Train, evaluate, enhance, report; returns the report's path."""
    from medjax import evaluate, report
    from medjax.build import config, evaluation, training

    chosen = config.get("restorer_cxr:small", [*OVERRIDES, *overrides])
    print("Training on simulated chest radiographs ...")
    training.train(chosen, workdir)
    print("Scoring phantoms the model has not seen, beside tuned classical denoisers ...")
    print(evaluate.table(evaluation.score_run(workdir)))
    files = write_examples(workdir / "examples", 3)
    outcome = evaluation.enhance(workdir, files, workdir / "enhanced", overwrite=True)
    print(f"\n{len(outcome.written)} files of {workdir / 'examples'} enhanced into {workdir / 'enhanced'}")
    return report.build(workdir)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the quickstart; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--overrides", nargs="*", default=(), metavar="FIELD=VALUE", help="config fields, for tests")
    args = parser.parse_args(argv)
    return common.conclude("quickstart", lambda: run(args.workdir, args.overrides), opening="")


if __name__ == "__main__":
    sys.exit(main())
