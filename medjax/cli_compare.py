"""`medjax distance` and `medjax compare`: their flags, and what they run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Both commands with their flags; `command(name, run, text)` makes a parser."""
    sub = command("distance", distance, "Distances between two folders of images over feature networks.")
    sub.add_argument("reference", type=Path, metavar="REFERENCE", help="a folder of images; its features are kept in a cache")
    sub.add_argument("other", type=Path, metavar="OTHER")
    sub.add_argument("--features", default="", help="feature networks, with commas between")
    sub.add_argument("--metrics", default="", help="fd, fd_infinity, kid, mmd, precision, recall, density, coverage")
    sub.add_argument("--output", type=Path, help="a JSON file")

    sub = command("compare", compare, "Compare evaluated runs: differences, intervals, adjusted p-values, over seeds too.")
    sub.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="evaluated workdirs, or folders of seed_0, seed_1, ...")
    sub.add_argument("--baseline", type=Path, help="the run that the others are compared with (default: the first)")
    sub.add_argument("--metrics", default="", help="names, with commas between (default: those that all runs have)")
    sub.add_argument("--output", type=Path, help="a folder for comparison.json, .csv, .md and figures")


def distance(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Run `medjax distance`; returns the exit status."""
    from medjax.build import distance as build_distance
    from medjax.metrics import markdown

    split = lambda text: tuple(part.strip() for part in text.split(",") if part.strip())  # noqa: E731
    found = build_distance.folders(
        args.reference, args.other, networks=split(args.features), metrics=split(args.metrics), output=args.output
    )
    print(markdown.features(found))
    return 0


def compare(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Run `medjax compare`; returns the exit status."""
    from medjax.build import compare as build_compare
    from medjax.build import compare_files

    metrics = tuple(name for name in args.metrics.split(",") if name)
    print(compare_files.markdown(build_compare.compare(args.runs, baseline=args.baseline, metrics=metrics, output=args.output)))
    if args.output:
        print(f"\nwritten: {args.output}")
    return 0
