"""One network that descends a regression loss: L1 restoration, and the first phase of every GAN that has one."""

from __future__ import annotations

from collections.abc import Callable

from medjax import losses
from medjax.objective import Metrics, Objective, Player, descend
from medjax.objectives.adversarial import draw, gammas
from medjax.rng import named
from medjax.state import TrainState, new_state
from medjax.types import Array, Batch, Key, PyTree


def supervised(
    generator: Player,
    *,
    loss: Callable[[Array, Array], Array] = losses.l1,
    inputs: Callable[[Batch], tuple[Array, ...]] = lambda batch: (batch["source"],),
    microbatch: int = 0,
) -> Objective:
    """Minimise `loss(G(source), target)`. The net is called `generator`, so a GAN run can start from it.

    microbatch: images whose activations are held at once, as in `descend`; 0: the whole batch.
    """
    team = {"generator": generator}

    def init(key: Key, batch: Batch) -> TrainState:
        return new_state({"generator": generator.init(named(key, "generator"), *inputs(batch))})

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        def loss_fn(params: dict[str, PyTree], stats: dict[str, PyTree], batch: Batch, key: Key) -> tuple:
            fake, moved = generator.apply(
                params["generator"], stats["generator"], *inputs(batch), train=True, rng=named(key, "dropout")
            )
            value = loss(fake, batch["target"]).mean()
            return value, ({"g_loss": value}, {"generator": moved})

        nets, metrics = descend(team, state.nets, loss_fn, batch, key, microbatch=microbatch)
        return state._replace(nets=nets), {**metrics, **gammas(nets["generator"].params)}

    def predict(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        del key
        g = state.nets["generator"]
        return {"target": generator.apply(g.params, g.stats, *inputs(batch))[0]}

    def sample(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        return {"target": draw(key, generator, state.nets["generator"], inputs(batch), batch["index"])}

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        return {"g_loss": loss(predict(state, batch, key)["target"], batch["target"])}

    return Objective(init, step, predict, sample, evaluate)
