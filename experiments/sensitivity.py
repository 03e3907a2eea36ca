"""What distances over features can tell, measured on the study's own images: halves, damage of rising strength, another hospital.

The reference is one random half of the images. The other half comes as it is, where an unbiased distance should not
differ from 0, and damaged; and there are the images of another hospital. Frechet distances are biased by n, which
halves of fewer images show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from medjax import report
from medjax.build.features import Extractable, between
from medjax.data import degrade
from medjax.figures.style import BLUE, GREY, ORANGE, WIDTH, styled
from medjax.metrics import features, frechet
from medjax.rng import generator


class Damage(NamedTuple):
    """A degradation, its parameter, and values of rising strength."""

    apply: Callable[..., np.ndarray]
    parameter: str
    values: tuple[float, ...]
    label: str


DAMAGE = {
    "blur": Damage(degrade.gaussian_blur, "sigma", (0.5, 1.0, 2.0, 4.0), "blur (sigma, pixels)"),
    "noise": Damage(degrade.gaussian_noise, "sigma", (5.0, 10.0, 20.0, 40.0), "noise (sigma of 255)"),
    "jpeg": Damage(degrade.jpeg, "quality", (40.0, 20.0, 10.0, 5.0), "JPEG (quality)"),
}
KID, FD = "kid", "fd"
BATCH = 8


def measure(
    images: Sequence[np.ndarray], elsewhere: Sequence[np.ndarray], network: Extractable, *, seed: int = 0
) -> dict[str, Any]:
    """`{"halves": {"kid", "fd"}, "damage": {kind: [{"strength", "kid", "fd"}]}, "elsewhere", "sizes", "n", ...}`.

    images, elsewhere: `[H, W, 1]` in [0, 1]; sizes: `{n: Frechet distance of two halves of n images each}`.
    """
    order = generator(seed, "halves").permutation(len(images))
    half = len(images) // 2
    first, second = ([images[i] for i in part] for part in (order[:half], order[half : 2 * half]))
    reference, same = extracted(network, first), extracted(network, second)
    layer = next(iter(reference))

    def versus(other: dict[str, features.Sample]) -> dict[str, Any]:
        found = between(network, reference, other, metrics=(FD, KID))
        pick = lambda metric: next(v for k, v in found.items() if k.split("/")[0].startswith(metric))  # noqa: E731
        return {"kid": pick("kid"), "fd": next(v["value"] for k, v in found.items() if k.startswith(("fd", "fid")))}

    rows: dict[str, list] = {}
    for kind, damage in DAMAGE.items():
        rows[kind] = []
        for value in damage.values:
            hurt = [
                np.clip(damage.apply(image, generator(seed, kind, i), **{damage.parameter: value}), 0, 1)
                for i, image in enumerate(second)
            ]
            rows[kind].append({"strength": value, **versus(extracted(network, hurt))})
    sizes = {}
    for n in (half // 8, half // 4, half // 2, half):
        if n >= 2:
            parts = [frechet.moments(sample[layer].vectors[:n]) for sample in (reference, same)]
            sizes[str(n)] = frechet.frechet(*parts)
    other = versus(extracted(network, elsewhere)) | {"n": len(elsewhere)} if len(elsewhere) >= 4 else None
    return {
        "network": network.name, "layer": layer, "weights": network.weights, "preprocess": network.preprocess, "n": half,
        "halves": versus(same), "damage": rows, "elsewhere": other, "sizes": sizes,
    }  # fmt: skip


def extracted(network: Extractable, images: Sequence[np.ndarray]) -> dict[str, features.Sample]:
    """The features of a list of images."""
    batches = (np.stack(images[i : i + BATCH]) for i in range(0, len(images), BATCH))
    return features.extract(network.features, batches, progress=False)


def judged(found: dict[str, Any]) -> dict[str, bool]:
    """Whether the distance of the halves is compatible with 0, and whether KID rises with every step of damage."""
    ends, zero = found["halves"]["kid"]["ci95"], found["halves"]["kid"]["value"]
    result = {"halves contain 0": ends[0] <= 0 <= ends[1]}
    for kind, rows in found["damage"].items():
        steps = [zero, *(row["kid"]["value"] for row in rows)]
        result[f"rises with {kind}"] = all(a < b for a, b in zip(steps, steps[1:], strict=False))
    if found["elsewhere"]:
        result["another hospital lies further than the halves"] = found["elsewhere"]["kid"]["value"] > zero
    return result


def blocks(found: dict[str, Any]) -> list[str]:
    """The section of a report: the verdicts in words, the figure, the Frechet distance by n."""
    if not found["halves"]["kid"].get("ci95"):
        return [report.text(f"Not measured: {found['n']} images in each half are too few for an interval of KID.")]
    lines = [f"- {what}: **{'yes' if holds else 'no'}**" for what, holds in judged(found).items()]
    name, n = f"{found['network']}.{found['layer']}", found["n"]
    opening = (
        f"What a distance over `{name}` can tell on these images, {n} against {n}: a random half as reference, the other half as"
        f" it is and damaged. Weights: {found['weights']}."
    )
    other = found["elsewhere"]
    caption = (
        f"Above: unbiased KID over `{name}` with its interval over subsets of images; it varies about 0 where nothing differs."
        f" Below: the Frechet distance, n = {n} and {n}; its grey line is that of two undamaged halves, bias and no difference."
    )
    if other:
        caption += f" Dashed: {other['n']} images of another hospital (so few add to the Frechet distance: see the table)."
    body = [(size, f"{value:.4g}") for size, value in found["sizes"].items()]
    sizes = report.table(
        ("n of each half", "Frechet distance"), body, caption="Two halves of one set: the distance is 0, what is seen is bias."
    )
    return [report.text(opening + "\n\n" + "\n".join(lines)), report.figure(draw(found), caption), sizes]


@styled
def draw(found: dict[str, Any]) -> Figure:
    """KID and Frechet distance over the strength of each damage."""
    figure = Figure(figsize=(WIDTH, 4.2))
    grid = figure.subplots(2, len(DAMAGE), sharex="col")
    halves, other = found["halves"], found["elsewhere"]
    for column, (kind, damage) in enumerate(DAMAGE.items()):
        rows = found["damage"][kind]
        places, labels = range(len(rows) + 1), ["none", *(f"{v:g}" for v in damage.values)]
        kid = [halves["kid"], *(row["kid"] for row in rows)]
        values = np.array([entry["value"] for entry in kid])
        ends = np.array([entry["ci95"] or [entry["value"]] * 2 for entry in kid]).T
        above, below = grid[:, column]
        reach = np.maximum([values - ends[0], ends[1] - values], 0)
        above.errorbar(places, values, reach, color=BLUE, marker="o", ms=3, capsize=2)
        above.axhline(0, color=GREY, lw=0.8)
        below.plot(places, [halves["fd"], *(row["fd"] for row in rows)], color=BLUE, marker="o", ms=3)
        below.axhline(halves["fd"], color=GREY, lw=0.8)
        if other:
            above.axhline(other["kid"]["value"], color=ORANGE, ls="--", lw=1)
            below.axhline(other["fd"], color=ORANGE, ls="--", lw=1)
        above.set_yscale("symlog", linthresh=10 ** np.ceil(np.log10(max(abs(halves["kid"]["value"]), 1e-9))), linscale=0.5)
        below.set_yscale("log")
        below.set_xticks(places, labels)
        below.set_xlabel(damage.label)
    grid[0, 0].set_ylabel("KID")
    grid[1, 0].set_ylabel("Frechet distance")
    return figure
