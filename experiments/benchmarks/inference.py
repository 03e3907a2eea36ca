"""How long a prediction takes, and how that compares with PyTorch: the networks, and DDIM's 50 steps.

    python -m experiments.benchmarks.inference --all --peer --output=experiments/results/inference/cpu.json
    python -m experiments.benchmarks.inference --config=restorer_cxr:small --batch=1,8

What is measured is the objective's `predict` under jit on one random batch handed over as numpy, with fresh weights, as what
they are does not change the time; of a denoiser alone, one call. XLA's flag is set as `medjax enhance` sets it. PyTorch runs in
inference mode. Everything else is as in `train_step`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.benchmarks import cases, side_by_side


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    return side_by_side.main("inference", __doc__, cases.INFERENCE, argv)


if __name__ == "__main__":
    sys.exit(main())
