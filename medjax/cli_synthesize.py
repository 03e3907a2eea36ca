"""`medjax synthesize`: its flags, and what it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

TEXT = "Write labelled synthetic images, a data set of their own, by a trained generator."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    folder = "a folder for the images, labels.csv, provenance.json and contact_sheet.png"
    parser.add_argument("--workdir", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path, help=folder)
    parser.add_argument("--label", action="append", default=[], help="a class of the run, or all; may be repeated")
    parser.add_argument("--count", required=True, type=int, help="images of each label")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threshold", type=float, default=0.0, help="the least probability of being real (default: no filter)")
    parser.add_argument("--max_tries", type=int, help="images generated at most of each label (default: 50 for each wanted)")
    parser.add_argument("--upscale", type=Path, metavar="RUN", help="a run of super-resolution that images pass through")
    parser.add_argument("--age", help="of all images, in years, where the run was told ages")
    parser.add_argument("--sex", help="F or M, where the run was told sexes")
    parser.add_argument("--view", help="AP or PA, where the run was told views")
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder of earlier synthetic images")


def run(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    from medjax.build import synthesis

    synthesis.run(
        args.workdir,
        args.output,
        labels=args.label,
        count=args.count,
        seed=args.seed,
        threshold=args.threshold,
        max_tries=args.max_tries,
        upscale=args.upscale,
        columns={name: value for name in ("age", "sex", "view") if (value := getattr(args, name)) is not None},
        which=args.checkpoint,
        overwrite=args.overwrite,
    )
    return 0
