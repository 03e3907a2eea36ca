"""The command line: `medjax train | evaluate | enhance | synthesize | degrade | split | distance | compare |
import-weights | export-weights | export | inspect`.

`main(argv)` returns the exit status: 0; 1 for data, files and checkpoints that cannot be used or where some file failed;
2 for a wrong flag, config or combination. Errors are one sentence on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from medjax import __version__, cli_compare, cli_export, cli_led, cli_synthesize, set_cpu_flags
from medjax.types import ConfigError, MedjaxError
from medjax.xla import fault

_DRAWN = ("sampler", "steps", "start", "enhancer", "condition")  # flags of `enhance` that are for runs of diffusion


def _train(args: argparse.Namespace, overrides: list[str]) -> int:
    from medjax import processes
    from medjax.build import config, folds, training

    if args.distributed or (args.coordinator, args.processes, args.process) != (None, None, None):
        processes.join(args.coordinator, args.processes, args.process)
    chosen = config.get(args.config, overrides)
    if args.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, not {args.seeds}")
    if args.folds and args.seeds > 1:
        raise ConfigError("--folds and --seeds cannot be given together")
    if args.folds:
        folds.train(chosen, args.workdir, args.folds)
    elif args.seeds > 1:
        training.train_seeds(chosen, args.workdir, args.seeds)
    else:
        training.train(chosen, args.workdir)
    return 0


def _evaluate(args: argparse.Namespace, overrides: list[str]) -> int:
    from medjax import evaluate, report
    from medjax.build import evaluation, folds

    crossed = folds.folds_of(args.workdir)
    summary = (folds.score if crossed else evaluation.score_run)(
        args.workdir,
        split=args.split,
        data_root=args.data_root,
        data_source=args.data_source,
        output=args.output,
        by=args.by,
        which=args.checkpoint,
        num_samples=args.samples,
        feature_networks=None if args.features is None else [name for name in args.features.split(",") if name],
        classifier=args.classifier,
        interpolate=args.interpolate,
        alpha=args.alpha,
    )
    print(evaluate.table(summary))
    print(f"\nwritten: {report.build(args.output or args.workdir, run=(*crossed, args.workdir)[0])}")
    return 0


def _enhance(args: argparse.Namespace, overrides: list[str]) -> int:
    from medjax.build import config, evaluation, named, volumes

    if args.models and not args.model:
        raise ConfigError("--models=DIR is the folder of --model=NAME")
    run = named.find(args.model, args.models or "") if args.model else args.workdir
    common = {"which": args.checkpoint, "overwrite": args.overwrite, "deidentify": args.deidentify}
    volumetric = config.read(run).data.source in volumes.VOLUMETRIC if run.exists() else False
    sampling = {name: getattr(args, name) for name in _DRAWN if getattr(args, name) is not None}
    if volumetric and (args.scale or args.tile or args.batch or args.samples or sampling):
        flags = ", ".join(f"--{name}" for name in ("scale", "tile", "batch", "samples", *_DRAWN))
        raise ConfigError(f"{flags} are for images; this run takes volumes")
    if not volumetric and args.plane:
        raise ConfigError("--plane is for volumes; this run takes images")
    if volumetric:
        outcome = volumes.enhance(run, args.inputs, args.output, plane=args.plane, **common)
    else:
        options = {"scale": args.scale, "tile": args.tile, "batch": args.batch, "num_samples": args.samples}
        outcome = evaluation.enhance(run, args.inputs, args.output, sampling=sampling, **options, **common)
    print(f"{len(outcome.written)} {'volumes' if volumetric else 'images'} written to {args.output}")
    for _, reason in outcome.failed:
        print(f"medjax: {reason}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _import_weights(args: argparse.Namespace, overrides: list[str]) -> int:
    from medjax.build import importing

    importing.import_weights(
        args.model, args.file, args.workdir, discriminator=args.discriminator, entry=args.entry, overrides=overrides
    )
    return 0


def _export_weights(args: argparse.Namespace, overrides: list[str]) -> int:
    from medjax.build import importing

    print(f"written: {args.file} and {importing.export(args.workdir, args.file, which=args.checkpoint)}")
    return 0


def _inspect(args: argparse.Namespace, overrides: list[str]) -> int:
    from medjax.data import inspect

    found = inspect.inspect(args.data, output=args.sheet, value_range=args.value_range)
    print(json.dumps(found, indent=2) if args.json else inspect.format_report(found))
    return 1 if found["bad"] else 0


def _evaluate_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--workdir", required=True, type=Path)
    sub.add_argument("--split", default="test", help="train, validation or test (default)")
    sub.add_argument("--data_root", help="another place of the same data, or of --data_source")
    sub.add_argument("--data_source", help="other data, of any kind, all of it the test set")
    sub.add_argument("--output", type=Path, help="where results go (default: the workdir)")
    sub.add_argument("--by", help="a column that splits the table: sex, age, view, labels")
    sub.add_argument("--samples", type=int, default=0, help="draws behind the standard-deviation map")
    sub.add_argument("--features", help="feature networks, with commas between (default: config.evaluation.features)")
    sub.add_argument("--classifier", type=Path, metavar="RUN", help="a classifier that judges a generator's images")
    sub.add_argument("--interpolate", type=Path, metavar="RUN", help="a row of the weights of RUN and this run's, mixed")
    sub.add_argument("--alpha", type=float, default=0.8, help="this run's share in that mixture (default 0.8)")
    sub.add_argument("--checkpoint", choices=("best", "latest"), default="best")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medjax", description="Medical image enhancement and synthesis in JAX.")
    parser.add_argument("--version", action="version", version=f"medjax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        return sub

    sub = command("train", _train, "Train a run; the same command again resumes it. Fields: --config.FIELD=VALUE.")
    sub.add_argument("--config", required=True, help="NAME, NAME:VARIANT or PATH.py:VARIANT")
    sub.add_argument("--workdir", required=True, type=Path, help="where the run is kept")
    sub.add_argument("--seeds", type=int, default=1, help="runs with as many seeds, in WORKDIR/seed_0, ...")
    sub.add_argument("--folds", type=int, default=0, help="cross-validation: as many runs, in WORKDIR/fold_0, ...")
    sub.add_argument("--distributed", action="store_true", help="one of several processes, as Slurm or Kubernetes started them")
    sub.add_argument("--coordinator", metavar="HOST:PORT", help="one of several processes: where process 0 listens")
    sub.add_argument("--processes", type=int, metavar="N", help="how many there are, with --coordinator")
    sub.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0, with --coordinator")

    _evaluate_flags(command("evaluate", _evaluate, "Score a run on a split, beside its input and classical baselines."))

    sub = command("enhance", _enhance, "Enhance files and folders: any size, same format, depth and range out.")
    sub.add_argument("inputs", nargs="+", type=Path, metavar="INPUT")
    by = sub.add_mutually_exclusive_group(required=True)
    by.add_argument("--workdir", type=Path)
    by.add_argument("--model", metavar="NAME", help="exported weights, NAME.safetensors, instead of a workdir")
    sub.add_argument("--models", metavar="DIR", help="where NAME lies (default: $MEDJAX_MODELS, or the checkout's own)")
    sub.add_argument("--output", required=True, type=Path)
    sub.add_argument("--scale", choices=("trained", "native"), default="", help="pixel grid (default: that of training)")
    sub.add_argument("--tile", type=int, default=0, help="side of the tiles at --scale=native")
    sub.add_argument("--batch", type=int, default=0, help="tiles at once (default 4; 1 where every image is one tile)")
    sub.add_argument("--samples", type=int, default=0, help="draws behind a standard-deviation map beside each image")
    sub.add_argument("--sampler", help="of a run of diffusion: ddpm, ddim or dpm2m (default: that of its config)")
    sub.add_argument("--steps", type=int, help="of a run of diffusion: calls of the denoiser for an image")
    sub.add_argument("--start", type=int, help="of a run of diffusion: steps of noise that the start image gets; 0: noise alone")
    sub.add_argument("--enhancer", metavar="RUN", help="of a run of diffusion: a run of CycleGAN, which makes the start image")
    sub.add_argument("--condition", choices=("source", "enhanced"), help="of a run of diffusion: what it is shown")
    sub.add_argument("--checkpoint", choices=("best", "latest"), default="best")
    sub.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    sub.add_argument("--plane", choices=("axial", "coronal", "sagittal"), default="", help="slices of volumes (default: trained)")
    sub.add_argument("--deidentify", action="store_true", help="DICOM: remove what identifies the patient")

    sub = command("synthesize", cli_synthesize.run, cli_synthesize.TEXT)
    cli_synthesize.add_arguments(sub)

    cli_led.add_commands(command)
    _add_comparisons(command)
    sub = command("inspect", _inspect, "Look at a data folder before any training.")
    sub.add_argument("data", type=Path, metavar="DATA")
    sub.add_argument("--sheet", type=Path, help="a PNG file for the contact sheet")
    sub.add_argument("--value_range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="stored values at black and white")
    sub.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_comparisons(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Sets and runs side by side; weights in and out."""
    cli_compare.add_commands(command)
    cli_export.add_commands(command)

    sub = command("import-weights", _import_weights, "Make a workdir of a published or your own PyTorch model.")
    sub.add_argument("file", type=Path, metavar="FILE", help=".safetensors, .npz, or .pth where torch is installed")
    sub.add_argument("--model", required=True, help="unet_256, unet_128, resnet_9blocks, resnet_6blocks, rrdbnet, srresnet")
    sub.add_argument("--workdir", required=True, type=Path)
    sub.add_argument("--discriminator", default="", help="the file of its PatchGAN, to go on training")
    sub.add_argument("--entry", default="", help="the entry of the file that holds the tensors, e.g. params_ema")

    sub = command("export-weights", _export_weights, "Write a run's generator as safetensors with a model card.")
    sub.add_argument("file", type=Path, metavar="FILE")
    sub.add_argument("--workdir", required=True, type=Path)
    sub.add_argument("--checkpoint", choices=("best", "latest"), default="best")


def _overrides(words: Sequence[str]) -> list[str]:
    """`--config.a.b=1` and `--config.a.b 1` to `a.b=1`; anything else is an unknown flag."""
    found, words = [], list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--config."):
            raise ConfigError(f"unknown argument {word!r}; see medjax COMMAND --help")
        if "=" not in word:
            word = f"{word}={words.pop(0) if words else ''}"
        found.append(word.removeprefix("--config."))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    set_cpu_flags()
    args, rest = _parser().parse_known_args(argv)
    warnings.showwarning = lambda message, *_, **__: print(f"medjax: warning: {message}", file=sys.stderr)
    try:
        overrides = _overrides(rest)
        if overrides and args.command not in ("train", "import-weights", "split"):
            raise ConfigError(f"medjax {args.command} takes the config of its workdir and no --config flags")
        return args.run(args, overrides)
    except MedjaxError as error:
        print(f"medjax: {error}", file=sys.stderr)
        return error.exit_status
    except (RuntimeError, AssertionError) as error:
        if (told := fault(error)) is None:
            raise
        print(f"medjax: {told}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a forbidden folder: the message names the file
        print(f"medjax: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("medjax: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
