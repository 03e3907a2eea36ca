"""`medjax degrade` and `medjax split`, what joins the stages of LED: their flags, and what they run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Both commands with their flags; `command(name, run, text)` makes a parser."""
    sub = command("degrade", degrade, "Make pairs: every high-quality image of a CycleGAN run, and what it makes of it.")
    sub.add_argument("--workdir", required=True, type=Path, help="a run of led_cyclegan")
    sub.add_argument("--output", required=True, type=Path, help="a folder for source/, target/ and manifest.json")
    sub.add_argument("--checkpoint", choices=("best", "latest"), default="best")
    sub.add_argument("--overwrite", action="store_true", help="replace a folder of earlier pairs")

    sub = command("split", split, "Deal the patients of several configs together into one split file for all of them.")
    sub.add_argument("--config", required=True, action="append", help="NAME:VARIANT; may be repeated, the first says the shares")
    sub.add_argument("--output", required=True, type=Path, help="a JSON file, for --config.data.split_file")


def degrade(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Run `medjax degrade`; returns the exit status."""
    from medjax.build import pairs

    counts = pairs.write_pairs(args.workdir, args.output, which=args.checkpoint, overwrite=args.overwrite)
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"{sum(counts.values())} pairs written to {args.output} ({told}); train on them with "
          f"--config.data.source=led_pairs --config.data.root={args.output}")  # fmt: skip
    return 0


def split(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Run `medjax split`; returns the exit status. Fields `--config.FIELD=VALUE` hold for all configs."""
    from medjax.build import config as configs
    from medjax.build import data, pooling

    chosen = [configs.get(name, list(overrides)) for name in args.config]
    counts = pooling.share_split(chosen, args.output, data.open_source)
    print(f"written: {args.output} ({', '.join(f'{name}: {count} patients' for name, count in counts.items())})")
    return 0
