"""Training in float32 and in bfloat16, and with plain convolutions, side by side: every method's loss curves on the same batches.

    python -m experiments.benchmarks.precision [--steps=200] [--only=pix2pix,ddpm] --output=experiments/results/precision/cpu.json

Small networks on phantoms, from the same weights, with the same draws: what differs is the type of the computation
(`config.train.precision`; parameters, norms, losses and averages are float32 in both), or the forms of the convolutions, which
are equal but for rounding (`medjax.models.conv`; plain: those of a GPU, in float32). Each row holds the curves of one loss, the
means of the two types over the last quarter of the steps, by how much these differ beside the spread of the float32 curve
there, and the largest difference of the forms over the first 100 steps, relative to the mean of the curve. A figure of the curves
lies beside the output, with the ending png.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmarks.written import write
from medjax import set_cpu_flags
from medjax.build import config as configs
from medjax.figures import style
from medjax.figures.training import smoothed
from medjax.types import ConfigError, MedjaxError

_COMMON = ("data.batch_size=4", "train.ema=0.0", "optimizer.learning_rate=2e-4", "optimizer.schedule=constant")
_PHANTOMS = ("data.phantom_cxr.count=64",)
RUNS = {
    "restorer": ("restorer_cxr:tiny", (*_PHANTOMS, "generator.features=(16,24)", "generator.blocks=(1,1)")),
    "pix2pix": ("pix2pix_cxr:tiny", (*_PHANTOMS, "generator.features=16", "discriminator.features=16")),
    "cyclegan": ("led_cyclegan:tiny", ("generator.features=8", "generator.norm=instance", "discriminator.features=16")),
    "esrgan": ("esrgan:tiny_gan", (*_PHANTOMS, "generator.features=16", "discriminator.features=8", "train.needs_init=False")),
    "cgan": ("cgan_cxr:tiny", (*_PHANTOMS, "generator.features=16", "generator.most_features=64", "discriminator.features=16",
                               "discriminator.most_features=64")),
    "resnet": ("classifier_cxr:tiny", (*_PHANTOMS, "classifier.width=16")),
    "ddpm": ("led_diffusion:tiny", (*_PHANTOMS, "method.num_times=100", "denoiser.features=32", "denoiser.multipliers=(1,2)",
                                    "denoiser.unshuffle=1")),
}  # fmt: skip
VARIANTS = {"float32": ("float32", ""), "bfloat16": ("bfloat16", ""), "plain": ("float32", "cuda")}
"""Name: the precision, and the platform whose forms of convolutions are taken ("": this one)."""
FIRST = 100  # steps over which forms are compared: later, rounding has grown into another course of a GAN
SETTLED = 4  # the last of so many parts of a curve is compared


def curves(config: str, overrides: Sequence[str], steps: int, platform: str) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """`{loss: values}` of `steps` steps of a config with the forms of a platform, the types of what is kept between them and the
    seconds taken.
    """
    import jax

    from experiments.benchmarks.medjax_common import begin
    from medjax.build import data as build_data
    from medjax.build import networks
    from medjax.loop import fit
    from medjax.models.conv import traced_for
    from medjax.rng import named

    c = configs.get(config, [*_COMMON, *overrides, f"train.steps={steps}"])
    objective = networks.objective(c, steps)
    batches = build_data.train_batches(c, build_data.open_data(c))
    state = begin(objective, next(batches(0)), c.seed)
    rows: list[dict[str, Any]] = []
    key, hook = named(jax.random.key(c.seed), "train"), lambda step, state, metrics: rows.append(metrics)
    begun = time.perf_counter()
    with traced_for(platform):
        state = fit(objective, state, batches, key, steps, hooks=[(1, hook)])
    found = jax.device_get(rows)
    names = [name for name in found[0] if name == "loss" or name.endswith("_loss")]
    kept = sorted({str(x.dtype) for x in jax.tree.leaves((state.nets, state.ema)) if np.issubdtype(x.dtype, np.inexact)})
    losses = {name: [float(row[name]) for row in found] for name in names}
    return losses, {"kept": kept, "seconds": time.perf_counter() - begun}


def compared(float32: Sequence[float], bfloat16: Sequence[float], plain: Sequence[float]) -> dict[str, Any]:
    """Means over the last part of both types' curves, their relative difference, and the spread of the first one there; how far
    the plain forms are from the others in the beginning.
    """
    last = max(len(float32) // SETTLED, 1)
    a, b = (np.asarray(curve[-last:], np.float64) for curve in (float32, bfloat16))
    return {
        "float32": float(a.mean()),
        "bfloat16": float(b.mean()),
        "difference": float((b.mean() - a.mean()) / abs(a.mean())),
        "spread": float(a.std() / abs(a.mean())),
        "forms": float(np.abs(np.subtract(plain, float32))[:FIRST].max() / abs(np.mean(float32[:FIRST]))),
        "finite": bool(np.isfinite([float32, bfloat16, plain]).all()),
    }


def measure(name: str, steps: int) -> list[dict[str, Any]]:
    """A row for each loss of the run `name`."""
    config, overrides = RUNS[name]
    found = {
        variant: curves(config, (*overrides, f"train.precision={precision}"), steps, platform)
        for variant, (precision, platform) in VARIANTS.items()
    }
    rows = []
    for loss in found["float32"][0]:
        values = {variant: found[variant][0][loss] for variant in VARIANTS}
        about = {"run": name, "config": config, "overrides": list(overrides), "loss": loss, "steps": steps}
        kept = {f"{what}_{variant}": value for variant in VARIANTS for what, value in found[variant][1].items()}
        rows.append({**about, **compared(**values), **kept, "curves": values})
    return rows


@style.styled
def figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """A panel for each loss: running means, with the values of every step pale behind them."""
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    made = Figure(figsize=(style.WIDTH, 1.9 * lines))
    panels = made.subplots(lines, columns, squeeze=False).ravel()
    for axes, row in zip(panels, rows, strict=False):
        axes.set_title(f"{row['run']}: {row['loss']}")
        for colour, (name, values) in zip((style.BLUE, style.ORANGE, style.GREEN), row["curves"].items(), strict=True):
            axes.plot(values, color=colour, alpha=0.2, linewidth=0.6)
            axes.plot(smoothed(np.asarray(values), max(len(values) // 20, 1)), color=colour, label=name)
        axes.set_xlabel("training step")
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    panels[0].legend()
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Train, print a row for each loss, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", default="", help=f"of {', '.join(RUNS)}, separated by commas")
    parser.add_argument("--output", type=Path, help="write everything as JSON, and the figure beside it")
    args = parser.parse_args(argv)
    names = [name for name in args.only.split(",") if name] or list(RUNS)
    try:
        if unknown := [name for name in names if name not in RUNS]:
            raise ConfigError(f"no run {unknown[0]!r}; there are {', '.join(RUNS)}")
        set_cpu_flags()
        import jax

        rows = []
        for name in names:
            for row in measure(name, args.steps):
                rows.append(row)
                both = f"{row['float32']:.4g} and {row['bfloat16']:.4g}, {row['difference']:+.1%}"
                print(f"{name} {row['loss']}: {both} (spread {row['spread']:.1%}); forms {row['forms']:.1e}", flush=True)
    except MedjaxError as error:
        print(f"precision: {error}", file=sys.stderr)
        return error.exit_status
    if args.output:
        about = {"benchmark": "precision", "load": os.getloadavg()[0], "versions": configs.versions()}
        device = {"platform": jax.devices()[0].platform, "device_kind": jax.devices()[0].device_kind}
        write(args.output, {**about, **device, "rows": rows})
        args.output.with_suffix(".png").write_bytes(style.png(figure(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
