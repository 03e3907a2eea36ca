"""Conditional GANs from a config: networks, the method, what a validation of one says and what its sheets show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from medjax import losses, objectives
from medjax.images import diffaugment
from medjax.metrics.diversity import class_similarity
from medjax.metrics.sliced import sliced_wasserstein
from medjax.models.cgan import Generator, Sizes
from medjax.models.conditional_discriminator import ConditionalDiscriminator
from medjax.objective import Metrics, Objective, Player
from medjax.objectives.cgan import class_loss
from medjax.objectives.classification import cross_entropy
from medjax.state import TrainState
from medjax.types import Array, ConfigError, to_unit

VALUES = {"age": 0, "sex": 2, "view": 2}  # of a column: how many there are; 0 for a real number
SHEET_COLUMNS = 6
PAIRS = 100  # compared within each class at a validation
SET_SCORES = ("swd", "similarity", "similarity_real")


def sizes_of(config: ConfigDict) -> Sizes:
    """The columns that the networks are told, with how many values each has; ConfigError where the config leaves that open."""
    c = config.data
    if c.labels not in ("none", "single"):
        raise ConfigError(f"a CGAN is told one class of an image: config.data.labels is none or single, not {c.labels}")
    if c.labels == "single" and not c.classes:
        raise ConfigError("a CGAN needs the names of its classes in config.data.classes")
    label = (("label", len(c.classes)),) if c.labels == "single" else ()
    return (*label, *((name, VALUES[name]) for name in c.columns if name in VALUES))


def _generator(config: ConfigDict, **options: Any) -> nn.Module:
    return Generator(sizes_of(config), image_size=config.data.crop_size, **options)


def _discriminator(config: ConfigDict, **options: Any) -> nn.Module:
    return ConditionalDiscriminator(sizes_of(config), image_size=config.data.crop_size, **options)


GENERATORS: dict[str, Callable[..., nn.Module]] = {"cgan": _generator}
DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {"conditional": _discriminator}


def cgan(config: ConfigDict, generator: Player, discriminator: Player) -> Objective:
    """The conditional GAN of `config.method`."""
    m, columns = config.method, tuple(name for name, _ in sizes_of(config))
    policy = tuple(m.augment)
    asked = columns and config.discriminator.conditioning == "auxiliary"
    diffaugment(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), policy=policy)  # an unknown transform is told here
    return objectives.cgan(
        generator,
        discriminator,
        columns=columns,
        latent=m.latent,
        adversary=losses.adversary(m.adversary),
        auxiliary=partial(class_loss, columns=columns) if asked else None,
        auxiliary_weight=m.auxiliary_weight,
        guide=guide(config),
        guide_weight=m.guide.weight,
        augment=lambda images, keys: diffaugment(keys, images, policy=policy),
        gradient_penalty=losses.r1(m.r1) if m.r1 else None,
        microbatch=config.train.microbatch,
    )


def guide(config: ConfigDict) -> Callable[[Array, Mapping[str, Array]], Array] | None:
    """`(images [B, H, W, 1] in [-1, 1], batch) -> [B]`: the cross-entropy by which the classifier of `config.method.guide` misses
    each label, its weights fixed; None where `weight` is 0. ConfigError for no classifier, or one of other classes.
    """
    section, classes = config.method.guide, tuple(config.data.classes)
    if not section.weight >= 0:
        raise ConfigError(f"config.method.guide.weight is at least 0, not {section.weight}")
    if not section.weight:
        return None
    if not section.classifier:
        raise ConfigError(
            "a guide needs a classifier: set --config.method.guide.classifier=WORKDIR of a run of classifier_cxr on the same "
            "images, or train without it by --config.method.guide.weight=0"
        )
    from medjax.build import classifier  # which reads runs, and so all of `build`

    known, logits = classifier.logits(Path(section.classifier).expanduser())
    if config.data.labels != "single" or known != classes:
        told = f"{', '.join(known)}, not {', '.join(classes) if config.data.labels == 'single' else 'images without labels'}"
        raise ConfigError(f"the classifier {section.classifier} knows {told}")
    return lambda images, batch: cross_entropy(logits(images), batch["label"])


def score(objective: Objective, state: TrainState, batch: Mapping[str, Array], key: jax.Array) -> Metrics:
    """The objective's per-image values `[B]`, and for the scores of sets the generated and the real images in [0, 1]."""
    images = {"generated": objective.predict(state, batch, key)["target"], "real": batch["target"]}
    told = {"label": batch["label"]} if "label" in batch else {}
    return {**objective.evaluate(state, batch, key), **{name: to_unit(x) for name, x in images.items()}, **told}


def reduce(parts: Sequence[tuple[Mapping[str, Array], Array]]) -> dict[str, float]:
    """Means of the per-image values; `swd`, the sliced Wasserstein distance of the generated to the real images; how alike two
    images of one class are (`metrics.diversity`), generated and real, where there are two of some class.

    PSNR would say nothing: a generated image has no counterpart.
    """
    values = {name: np.concatenate([np.asarray(v[name])[np.asarray(mask)] for v, mask in parts]) for name in parts[0][0]}
    generated, real = values.pop("generated"), values.pop("real")
    label = values.pop("label", np.zeros(len(real), np.int32))
    found = {name: float(np.mean(value, dtype=np.float64)) for name, value in values.items()}
    found["swd"] = sliced_wasserstein(generated, real)["swd"]
    for name, images in (("similarity", generated), ("similarity_real", real)):
        classes = class_similarity(images, label, pairs=PAIRS)
        if classes:
            found[name] = float(np.mean([each["mean"] for each in classes.values()]))
    return found


def asked(config: ConfigDict, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a sheet asks for: `SHEET_COLUMNS` images of every class, the same noise along a column of the sheet; without classes,
    of every image of the batch. Other columns are those of the batch's images in turn.
    """
    rows = len(config.data.classes) if config.data.labels == "single" else len(batch["index"])
    row, column = np.divmod(np.arange(rows * SHEET_COLUMNS, dtype=np.int32), SHEET_COLUMNS)
    told = {name: np.asarray(batch[name])[row % len(batch["index"])] for name, _ in sizes_of(config) if name != "label"}
    return {"index": column, **told, **({"label": row} if config.data.labels == "single" else {})}


def sheet(config: ConfigDict, prediction: Mapping[str, Array], batch: Mapping[str, np.ndarray]) -> tuple:
    """A row of generated images for every class, or every image of the batch."""
    images = np.asarray(to_unit(prediction["target"]))
    rows = images.reshape(-1, SHEET_COLUMNS, *images.shape[1:])
    columns = {f"sample {i + 1}": rows[:, i] for i in range(SHEET_COLUMNS)}
    return columns, tuple(config.data.classes) if config.data.labels == "single" else ()
