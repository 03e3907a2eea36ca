"""CycleGAN: two generators between two sets of images that are not paired, each against a discriminator.

Domain a holds images of low quality, b of high: `g_ab` enhances, `g_ba` degrades, `d_a` judges low, `d_b` high. A training
batch holds `a` and `b` `[B, H, W, C]` in [-1, 1], which have nothing to do with each other. The generators take one step as a
team, then the discriminators, who are shown earlier images too (`medjax.pool`, in `state.extra["pool"]`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from medjax import losses
from medjax.objective import Metrics, Objective, Player, descend, in_parts, parts_of
from medjax.objectives.adversarial import Scores, draw, over_scales, share_real
from medjax.pool import empty, exchange
from medjax.rng import named
from medjax.state import Net, TrainState, new_state
from medjax.types import Array, Batch, Key, PyTree

Apply = Callable[[str, Array, str], Array]  # (net, images, a name for its randomness) -> images
WAYS = {"a": ("g_ab", "g_ba", "b"), "b": ("g_ba", "g_ab", "a")}  # from a side: the way there, the way back, where it leads
FAKES = "fakes"


def cyclegan(
    g_ab: Player,
    g_ba: Player,
    d_a: Player,
    d_b: Player,
    *,
    adversary: losses.Adversary | None = None,
    cycle_weight: float = 10.0,
    identity_weight: float = 0.0,
    structure_weight: float = 0.0,
    illumination_weight: float = 0.0,
    discriminator_weight: float = 0.5,
    pool: int = 50,
    microbatch: int = 0,
) -> Objective:
    """L_G = adversary + cycle_weight (|g_ba(g_ab(a)) - a| + |g_ab(g_ba(b)) - b|) + ..., L_D = discriminator_weight adversary
    (Zhu et al. 2017, eq. 3), absolute differences as means over pixels.

    Args:
      adversary: of both pairs; least squares where None, as published (section 4).
      identity_weight: of |g_ba(a) - a| + |g_ab(b) - b| (section 5.2, where it is half the cycle's).
      structure_weight: of `losses.structure` between each image and what is made of it (StillGAN, Ma et al. 2021).
      illumination_weight: of `losses.illumination` of enhanced images (the same).
      pool: earlier images of each kind that the discriminators are shown half of the time; 0: none.
      microbatch: images whose activations are held at once, as in `descend`; 0: the whole batch. The images that the
        discriminators are shown are then made once more.

    `predict` gives `target` = g_ab(source) where the batch has `source`; of `a` and `b` it gives `b` = g_ab(a), `a` = g_ba(b),
    and the ways back, `cycle_a` and `cycle_b`. `evaluate` gives the terms of what the batch has of `a` (or `source`) and `b`.
    """
    generators, judges = {"g_ab": g_ab, "g_ba": g_ba}, {"d_a": d_a, "d_b": d_b}
    game = adversary or losses.lsgan()
    # A step calls each network many times: under a jit of its own it is traced once for all of them.
    moving = {id(player): jax.jit(_training_pass(player)) for player in (g_ab, g_ba, d_a, d_b)}

    def terms_of(apply: Apply, side: str, image: Array) -> tuple[Array, Metrics]:
        """What is made of the images of one side, and the terms `[B]` of it that need no discriminator."""
        there, back, _ = WAYS[side]
        fake = apply(there, image, f"fake_{side}")
        terms = {f"g_cycle_{side}": cycle_weight * losses.l1(apply(back, fake, f"cycle_{side}"), image)}
        if identity_weight:
            terms[f"g_identity_{side}"] = identity_weight * losses.l1(apply(back, image, f"identity_{side}"), image)
        if structure_weight:
            terms[f"g_structure_{side}"] = structure_weight * losses.structure(fake, image)
        if illumination_weight and side == "a":
            terms["g_illumination"] = illumination_weight * losses.illumination(fake)
        return fake, terms

    def judged(nets: Mapping[str, Net], side: str, images: Array, key: Key | None) -> Scores:
        """The scores of a discriminator that does not move; in training its batch statistics count and are dropped."""
        net, judge = nets[f"d_{side}"], judges[f"d_{side}"]
        if key is None:
            return judge.apply(net.params, net.stats, images)[0]
        return moving[id(judge)](net.params, net.stats, images, key)[0]

    def init(key: Key, batch: Batch) -> TrainState:
        a, b = batch["a"], batch["b"]
        sees = {"g_ab": a, "g_ba": b, "d_a": a, "d_b": b}
        nets = {name: player.init(named(key, name), sees[name]) for name, player in {**generators, **judges}.items()}
        return new_state(nets, **({"pool": {"a": empty(pool, a), "b": empty(pool, b)}} if pool else {}))

    def generator_loss(nets: Mapping[str, Net], params: dict, stats: dict, batch: Batch, key: Key) -> tuple:
        moved = dict(stats)

        def apply(name: str, images: Array, what: str) -> Array:
            out, moved[name] = moving[id(generators[name])](params[name], moved[name], images, named(key, what))
            return out

        fakes, terms = {}, {}
        for side, (there, _, other) in WAYS.items():
            fakes[other], found = terms_of(apply, side, batch[side])
            out = judged(nets, other, fakes[other], named(key, f"judge_{other}"))
            real: Scores = [[jnp.zeros(())]] * len(out)
            if game.uses_real:
                real = judged(nets, other, batch[other], named(key, f"judge_real_{other}"))
            terms[there.replace("g", "g_gan")] = over_scales(game.generator, real, out)
            terms |= {name: value.mean() for name, value in found.items()}
        total = sum(terms.values())
        return total, ({"g_loss": total, **terms, FAKES: fakes}, moved)

    def discriminator_loss(params: dict, stats: dict, batch: Batch, key: Key) -> tuple:
        moved, terms = dict(stats), {}
        for side in WAYS:
            name, scores = f"d_{side}", {}
            for what in ("real", "fake"):
                shown = batch[side] if what == "real" else batch[f"fake_{side}"]
                rng = named(key, f"{name}_{what}")
                scores[what], moved[name] = moving[id(judges[name])](params[name], moved[name], shown, rng)
            terms[f"{name}_loss"] = discriminator_weight * over_scales(game.discriminator, scores["real"], scores["fake"])
            terms[f"{name}_real"] = share_real(scores["real"], game.threshold)
            terms[f"{name}_fake"] = 1 - share_real(scores["fake"], game.threshold)
        total = terms["d_a_loss"] + terms["d_b_loss"]
        return total, ({"d_loss": total, **terms}, moved)

    def made(nets: Mapping[str, Net], batch: Batch, key: Key) -> dict[str, Array]:
        """The images of the generators as they are before their step, made part by part as `descend` goes through them."""
        parts = parts_of(batch, microbatch)

        def one(numbered: tuple[Array, Batch]) -> dict[str, Array]:
            number, part = numbered
            own, found = jax.random.fold_in(key, number), {}
            for side, (there, _, other) in WAYS.items():
                net, rng = nets[there], named(own, f"fake_{side}")
                found[other] = moving[id(generators[there])](net.params, net.stats, part[side], rng)[0]
            return found

        fakes = jax.lax.map(one, (jnp.arange(len(parts["a"])), parts))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fakes)

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        given, before = {side: batch[side] for side in WAYS}, state.nets
        apart = in_parts(given, microbatch)

        def g_loss(params: dict[str, PyTree], stats: dict[str, PyTree], batch: Batch, key: Key) -> tuple:
            loss, (terms, moved) = generator_loss(before, params, stats, batch, key)
            return loss, ({k: v for k, v in terms.items() if k != FAKES or not apart}, moved)

        nets, g_terms = descend(generators, before, g_loss, given, named(key, "generators"), microbatch=microbatch)
        fakes = made(before, given, named(key, "generators")) if apart else g_terms.pop(FAKES)
        fakes, extra = jax.lax.stop_gradient(fakes), state.extra
        if pool:
            both = {side: exchange(named(key, f"pool_{side}"), extra["pool"][side], fakes[side]) for side in WAYS}
            extra = {**extra, "pool": {side: held for side, (held, _) in both.items()}}
            fakes = {side: shown for side, (_, shown) in both.items()}
        shown = {**given, **{f"fake_{side}": image for side, image in fakes.items()}}
        nets, d_terms = descend(judges, nets, discriminator_loss, shown, named(key, "discriminators"), microbatch=microbatch)
        return state._replace(nets=nets, extra=extra), {**g_terms, **d_terms}

    def still(state: TrainState) -> Apply:
        """The generators without dropout and with their running statistics."""
        return lambda name, images, what: generators[name].apply(state.nets[name].params, state.nets[name].stats, images)[0]

    def predict(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        del key
        apply, found = still(state), {}
        if "source" in batch:
            found["target"] = apply("g_ab", batch["source"], "")
        for side, (there, back, other) in WAYS.items():
            if side in batch:
                found[other] = apply(there, batch[side], "")
                found[f"cycle_{side}"] = apply(back, found[other], "")
        return found

    def sample(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        asked = {"source": ("g_ab", "target"), "a": ("g_ab", "b"), "b": ("g_ba", "a")}
        own = lambda net, what: draw(named(key, net), generators[net], state.nets[net], (batch[what],), batch["index"])  # noqa: E731
        return {name: own(net, what) for what, (net, name) in asked.items() if what in batch}

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        del key
        sides = {"a": batch.get("a", batch.get("source")), "b": batch.get("b")}
        found: Metrics = {}
        for side, (there, _, other) in WAYS.items():
            if sides[side] is None:
                continue
            fake, terms = terms_of(still(state), side, sides[side])
            out, real = judged(state.nets, other, fake, None), None
            if game.uses_real and sides[other] is not None:
                real = judged(state.nets, other, sides[other], None)
            real = real or [[jnp.zeros((len(fake), 1))]] * len(out)
            each = jax.vmap(lambda r, f: over_scales(game.generator, r, f))
            found[there.replace("g", "g_gan")] = each([[s[-1]] for s in real], [[s[-1]] for s in out])
            found |= terms
        return found

    return Objective(init, step, predict, sample, evaluate)


def _training_pass(player: Player) -> Callable[[PyTree, PyTree, Array, Key], tuple[PyTree, PyTree]]:
    return lambda params, stats, images, key: player.apply(params, stats, images, train=True, rng=key)
