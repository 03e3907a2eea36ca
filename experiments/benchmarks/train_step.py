"""How long one training step of a config takes, what it costs, and how that compares with PyTorch.

    python -m experiments.benchmarks.train_step --config=pix2pix_cxr:paper --batch=1,4 --precision=float32 --slices=5 --peer
    python -m experiments.benchmarks.train_step --all --peer --output=experiments/results/train_step/cpu.json

The step is the one `medjax train` runs: the config's own objective through `train_step`, jitted, with the state donated,
on one random batch handed over as numpy. Each implementation has a process of its own and they take turns in slices of
time; the figure is the median over slices, with the range. `--peer` adds the same networks, losses and optimisers in PyTorch,
in the forms that `--forms` names (eager, channels_last, compile), where torch is installed. `--all` goes through the six models
(`experiments.benchmarks.cases`). Config fields are set as in `medjax train` (`--config.FIELD=VALUE`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.benchmarks import cases, side_by_side
from experiments.benchmarks.side_by_side import measure, table

__all__ = ["main", "measure", "table"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    return side_by_side.main("train_step", __doc__, cases.TRAIN, argv)


if __name__ == "__main__":
    sys.exit(main())
