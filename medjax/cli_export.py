"""`medjax export`: its flags, and what it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from medjax.types import ConfigError

TEXT = "Write a run's prediction for one shape as a program that jax runs without Flax and without medjax's networks."


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The command with its flags; `command(name, run, text)` makes a parser."""
    sub = command("export", run, TEXT)
    sub.add_argument("--workdir", required=True, type=Path)
    sub.add_argument("--shape", required=True, metavar="HEIGHT,WIDTH", help="of the images, in pixels")
    told = "the program (default: predict_HEIGHTxWIDTH.jax in the workdir, or beside its file); FILE.json tells what it is"
    sub.add_argument("--output", type=Path, metavar="FILE", help=told)
    sub.add_argument("--batch", type=int, default=1, help="images at once (default 1)")
    sub.add_argument("--platforms", default="", help="cpu, cuda, rocm, tpu, with commas between (default: this machine's)")
    sub.add_argument("--checkpoint", choices=("best", "latest"), default="best")
    sub.add_argument("--overwrite", action="store_true", help="replace an earlier program")


def run(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    shape = _shape(args.shape)
    from medjax.build import exporting
    from medjax.exported import beside

    folder = args.workdir.parent if args.workdir.is_file() else args.workdir
    output = args.output or folder / "predict_{}x{}.jax".format(*shape)
    about = exporting.export_run(
        args.workdir,
        output,
        shape=shape,
        batch=args.batch,
        platforms=[name.strip() for name in args.platforms.split(",") if name.strip()],
        which=args.checkpoint,
        overwrite=args.overwrite,
    )
    size, where = about["bytes"] / 1e6, " and ".join(about["platforms"])
    print(f"written: {output} ({size:.1f} MB, for {where}) and {beside(output)}")
    return 0


def _shape(text: str) -> tuple[int, int]:
    try:
        height, width = (int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"--shape reads HEIGHT,WIDTH, two whole numbers, not {text!r}") from None
    return height, width
