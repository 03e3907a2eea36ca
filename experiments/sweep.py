"""A seeded random search over fields of a config: trials trained by the house's own loop, one table at the end.

    python -m experiments.sweep --config=restorer_cxr:small --workdir=runs/sweep --trials=12 \\
        --field optimizer.learning_rate=log:1e-5:1e-3 --field data.batch_size=int:2:8 --field optimizer.b1=uniform:0.0:0.9 \\
        --field method.reconstruction=choice:l1,charbonnier --best psnr:max

Each trial is a workdir of its own, `trial_000`, `trial_001`, ..., whose draws depend on the seed, the field's name and the
trial's number alone: more trials, or another field beside these, change no draw. The same command resumes; finished trials are
read back. The metric is that of the validation images, at its best over the run. Ends with `sweep.md`, `sweep.csv` and
`sweep.json` in the workdir, best trial first, with the seed and a digest of the config.

A search picks the luckiest of its trials: train the winner again with another seed before believing the margin, and score it on
the test split, which no trial sees.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments import common

NAME = "sweep"


def parser() -> argparse.ArgumentParser:
    """The sweep's flags."""
    made = argparse.ArgumentParser(prog=f"python -m experiments.{NAME}", description=__doc__.splitlines()[0])
    made.add_argument("--config", required=True, help="NAME:VARIANT or PATH.py:VARIANT")
    made.add_argument("--workdir", type=Path, required=True)
    made.add_argument("--field", action="append", default=[], metavar="FIELD=RANGE",
                      help="log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B,...; may be repeated")  # fmt: skip
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="for every trial; may be repeated")
    made.add_argument("--trials", type=int, default=10)
    made.add_argument("--seed", type=int, default=0, help="of the draws; the trainings have the config's own")
    made.add_argument("--best", default="", help="METRIC:max or METRIC:min of the validation (default: the config's train.best)")
    made.add_argument("--quiet", action="store_true", help="no progress bars")
    return made


def conduct(args: argparse.Namespace) -> Path:
    """All trials in turn; returns the path of the table."""
    from experiments.sweeping import fields, table, trials

    config, ranges = fields.checked(args.config, args.set, args.field, args.best)
    best = trials.objective(args.best or config.train.best)
    search = trials.Search(args.workdir, config, ranges, args.trials, args.seed, best, not args.quiet)
    rows = trials.run(search)
    return table.write(search, rows)


def main(argv: list[str] | None = None) -> int:
    """Run the sweep; returns the exit status."""
    args = parser().parse_args(argv)
    return common.conclude(NAME, lambda: conduct(args))


if __name__ == "__main__":
    sys.exit(main())
