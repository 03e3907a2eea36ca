"""One network that descends a classification loss: a class for each image, or any number of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from medjax.objective import Metrics, Objective, Player, descend
from medjax.rng import named
from medjax.state import TrainState, new_state
from medjax.types import Array, Batch, ConfigError, Key, PyTree

LOSSES = ("softmax", "sigmoid")


def cross_entropy(logits: Array, label: Array, *, smoothing: float = 0.0, weights: Array | None = None) -> Array:
    """-sum_k q_k log softmax(logits)_k of each image, `[B]`; logits `[B, K]`, label int `[B]`.

    q is 1 at the label, moved by `smoothing` towards the uniform 1/K (Szegedy et al. 2016, sec. 7). weights `[K]` multiply
    each image's loss by that of its class.
    """
    hot = jax.nn.one_hot(label, logits.shape[-1])
    loss = optax.softmax_cross_entropy(logits.astype(jnp.float32), optax.smooth_labels(hot, smoothing))
    return loss if weights is None else loss * _of_classes(weights, logits)[label]


def binary_cross_entropy(logits: Array, label: Array, *, smoothing: float = 0.0, weights: Array | None = None) -> Array:
    """Mean over classes of the binary cross-entropy of sigmoid(logits), `[B]`; logits and label (0 and 1) `[B, K]`.

    `smoothing` moves labels towards 1/2; weights `[K]` multiply the terms of classes that are there.
    """
    target = label * (1 - smoothing) + smoothing / 2
    terms = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), target)
    return (terms if weights is None else terms * jnp.where(label > 0, _of_classes(weights, logits), 1.0)).mean(-1)


def _of_classes(weights: Array, logits: Array) -> Array:
    weights = jnp.asarray(weights, jnp.float32)
    if weights.shape != logits.shape[-1:]:
        raise ConfigError(f"there are {weights.size} class weights for {logits.shape[-1]} classes")
    return weights


def classification(
    classifier: Player,
    *,
    loss: str = "softmax",
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] = (),
    inputs: Callable[[Batch], tuple[Array, ...]] = lambda batch: (batch["target"],),
    microbatch: int = 0,
) -> Objective:
    """Minimise the cross-entropy of `classifier(image) -> logits [B, K]`; the net is called `classifier`.

    loss: "softmax" for one class an image (label int32 `[B]`), "sigmoid" for any number (label 0 and 1 `[B, K]`).
    class_weights: one for each class; () for none. `predict` gives `{"label": probabilities [B, K]}`; `evaluate` the loss
    without smoothing and weights, and the accuracy: of images, or with "sigmoid" the share of classes decided rightly at 0.5.
    microbatch: images whose activations are held at once, as in `descend`; 0: the whole batch.

    Raises ConfigError for another loss, a smoothing outside 0 to 1 and weights that are not positive.
    """
    if loss not in LOSSES:
        raise ConfigError(f"loss of a classifier must be one of {', '.join(LOSSES)}, not {loss!r}")
    if not 0 <= label_smoothing < 1 or any(weight <= 0 for weight in class_weights):
        told = f"{label_smoothing} and {tuple(class_weights)}"
        raise ConfigError(f"label_smoothing lies from 0 to below 1 and class_weights are above 0; they are {told}")
    entropy = cross_entropy if loss == "softmax" else binary_cross_entropy
    weights = tuple(class_weights) or None

    def init(key: Key, batch: Batch) -> TrainState:
        return new_state({"classifier": classifier.init(named(key, "classifier"), *inputs(batch))})

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        def loss_fn(params: dict[str, PyTree], stats: dict[str, PyTree], batch: Batch, key: Key) -> tuple:
            net = params["classifier"], stats["classifier"]
            logits, moved = classifier.apply(*net, *inputs(batch), train=True, rng=named(key, "dropout"))
            value = entropy(logits, batch["label"], smoothing=label_smoothing, weights=weights).mean()
            return value, ({"loss": value, "accuracy": right(logits, batch["label"]).mean()}, {"classifier": moved})

        nets, metrics = descend({"classifier": classifier}, state.nets, loss_fn, batch, key, microbatch=microbatch)
        return state._replace(nets=nets), metrics

    def logits_of(state: TrainState, batch: Batch) -> Array:
        net = state.nets["classifier"]
        return classifier.apply(net.params, net.stats, *inputs(batch))[0].astype(jnp.float32)

    def predict(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        del key  # dropout off
        link = jax.nn.softmax if loss == "softmax" else jax.nn.sigmoid
        return {"label": link(logits_of(state, batch))}

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        del key
        logits = logits_of(state, batch)
        return {"loss": entropy(logits, batch["label"]), "accuracy": right(logits, batch["label"])}

    return Objective(init, step, predict, predict, evaluate)


def right(logits: Array, label: Array) -> Array:
    """`[B]`: 1 where the likeliest class is the label; for labels `[B, K]` the share of classes decided rightly at 0."""
    if label.ndim == 1:
        return (logits.argmax(-1) == label).astype(jnp.float32)
    return ((logits >= 0) == (label > 0)).mean(-1)
