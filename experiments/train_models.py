"""The weights that `medjax enhance --model=NAME` takes: trained on native crops, scored, exported with their cards.

    python -m experiments.train_models --workdir=runs/models [--output=experiments/models] [--only=restorer_cxr]
        [--variant=native] [--config.FIELD=VALUE ...]

Trains `restorer_cxr:native` and `pix2pix_cxr:native` (radiographs of `MEDJAX_DATA`, or of --config.data.root) in folders of
--workdir, scores both on their test patients, and writes NAME_native.safetensors, at most 20 MB, with a model card that holds the
scores into --output. Meant for a GPU; the same command again resumes, and what is finished is not trained again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medjax import set_cpu_flags
from medjax.build import config as configs
from medjax.files import replace
from medjax.types import ConfigError, MedjaxError

CONFIGS = ("restorer_cxr", "pix2pix_cxr")
MOST_BYTES = 20e6


def make(
    name: str, variant: str, workdir: Path, output: Path, *, overrides: Sequence[str] = (), say: Callable[[str], None] = print
) -> Path:
    """Train, score and export one config; returns the file of weights.

    Raises ConfigError where the weights would be larger than `MOST_BYTES`, and as training and scoring do.
    """
    from medjax.build import evaluation, importing, named, training  # and with them jax, once its flags are set

    run = workdir / f"{name}_{variant}"
    training.train(configs.get(f"{name}:{variant}", overrides), run, say=say)
    scores = evaluation.score_run(run, progress=configs.read(run).train.progress)
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"{name}_{variant}{named.SUFFIX}"
    card = importing.export(run, file)
    if (size := file.stat().st_size) > MOST_BYTES:
        file.unlink()
        card.unlink()
        sizes = f"{size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}"
        raise ConfigError(f"the weights of {name}:{variant} take {sizes}: narrow the network")
    replace(card, card.read_text() + "\n" + table(scores))
    return file


def table(scores: dict[str, Any]) -> str:
    """The scores of the test patients as a card has them: a row each of the input, the baselines and the model."""
    told = lambda value: f"{value['mean']:.4g} [{value['ci95'][0]:.4g}, {value['ci95'][1]:.4g}]"
    names = [name for name in ("psnr", "ssim") if all(name in row for row in scores["rows"].values())]
    head = f"| {scores['n']} test images of {scores['dataset']} | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    rows = [f"| {row} | {' | '.join(told(values[name]) for name in names)} |" for row, values in scores["rows"].items()]
    return "\n".join([head, *rows]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Make every model; the exit status."""
    set_cpu_flags()
    from medjax.build import named

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=named.folder_of(), help="the folder of models (default: %(default)s)")
    parser.add_argument("--only", choices=CONFIGS, help="one of them")
    parser.add_argument("--variant", default="native")
    args, rest = parser.parse_known_args(argv)
    if wrong := [word for word in rest if not word.startswith("--config.") or "=" not in word]:
        parser.error(f"unknown argument {wrong[0]}")
    overrides = [word.removeprefix("--config.") for word in rest]
    try:
        for name in [args.only] if args.only else CONFIGS:
            file = make(name, args.variant, args.workdir, args.output, overrides=overrides)
            print(f"written: {file}; medjax enhance --model={file.stem} --models={args.output} FILES --output=DIR takes it")
    except MedjaxError as error:
        print(f"train_models: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
