"""CycleGAN from a config: the method, what a validation of one says, and what its sheets show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from medjax import losses, objectives
from medjax.metrics import psnr, ssim
from medjax.objective import Metrics, Objective, Player
from medjax.state import TrainState
from medjax.types import Array, to_unit

NETS = ("g_ab", "g_ba")
SUM = "g_loss"
OF_B = ("g_cycle_b", "g_identity_b", "g_structure_b", "g_gan_ba")  # values of high-quality images; the others are of low
SIDES = {"a": "low", "b": "high"}


def cyclegan(config: ConfigDict, generator: Player, discriminator: Player) -> Objective:
    """The CycleGAN of `config.method`, both of whose generators, and discriminators, are of one architecture."""
    m = config.method
    return objectives.cyclegan(
        generator,
        generator,
        discriminator,
        discriminator,
        adversary=losses.adversary(m.adversary),
        cycle_weight=m.cycle_weight,
        identity_weight=m.identity_weight,
        structure_weight=m.structure_weight,
        illumination_weight=m.illumination_weight,
        discriminator_weight=m.discriminator_weight,
        pool=m.pool,
        microbatch=config.train.microbatch,
    )


def score(objective: Objective, state: TrainState, batch: Mapping[str, Array], key: jax.Array) -> Metrics:
    """The objective's per-image values `[B]`; PSNR and SSIM of the enhanced image where the truth is known; `high` `[B, 1]`,
    whether the high-quality image is there and no filling.
    """
    given = {name: batch[name] for name in ("a", "b", "index")}
    values = {**objective.evaluate(state, given, key), "high": batch.get("high", np.ones(len(batch["a"]), bool))[:, None]}
    if "target" not in batch:
        return values
    output = to_unit(objective.predict(state, {"source": batch["a"], "index": batch["index"]}, key)["target"])
    target = to_unit(batch["target"])
    return {**values, "psnr": psnr(output, target), "ssim": ssim(output, target)}


def reduce(parts: Sequence[tuple[Mapping[str, Array], Array]]) -> dict[str, float]:
    """The mean of every value over the images of its pool, and `g_loss`, the sum of the generators' terms."""
    low = np.concatenate([np.asarray(mask, bool) for _, mask in parts])
    high = np.concatenate([np.asarray(values["high"], bool)[:, 0] for values, _ in parts])
    found = {}
    for name in parts[0][0]:
        if name != "high":
            value = np.concatenate([np.asarray(values[name], np.float64) for values, _ in parts])
            found[name] = float(value[high if name in OF_B else low].mean())
    return {SUM: sum(value for name, value in found.items() if name.startswith("g_")), **found}


def sheet(config: ConfigDict, prediction: Mapping[str, Array], batch: Mapping[str, np.ndarray]) -> tuple:
    """Of each pool the image, what is made of it, and that brought back; the truth too, where it is known."""
    shown = {}
    for side, other, word in (("a", "b", "enhanced"), ("b", "a", "degraded")):
        shown |= {
            SIDES[side]: batch[side],
            word: prediction[other],
            f"{SIDES[side]}, there and back": prediction[f"cycle_{side}"],
        }
        shown |= {"truth": batch["target"]} if side == "a" and "target" in batch else {}
    there = np.asarray(batch["mask"], bool) & np.asarray(batch["high"], bool)  # a row where both pools have an image of its own
    return {name: np.asarray(to_unit(np.asarray(images)))[there] for name, images in shown.items()}, ()
