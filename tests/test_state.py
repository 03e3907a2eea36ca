"""States: copies that do not alias, warm starts that name what does not fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.state import Net, check_same_tree, copy, new_state, warm_start, weights_of
from medjax.types import CheckpointError


def net(value, shape=(2, 3)):
    return Net(
        {"dense": {"kernel": jnp.full(shape, value)}},
        {"batch_stats": {"mean": jnp.full(3, value)}},
        {"mu": jnp.full(shape, value)},
    )


def state(value, **nets):
    made = new_state({"generator": net(value), **nets})
    return made._replace(ema={"generator": copy((made.nets["generator"].params, made.nets["generator"].stats))})


def leaf(found):
    return float(found["dense"]["kernel"][0, 0])


def test_weights_are_the_averages_where_there_are_some():
    made = state(1.0, discriminator=net(2.0))
    made = made._replace(ema={"generator": (net(9.0).params, net(9.0).stats)})
    weights = weights_of(made)
    assert leaf(weights["generator"][0]) == 9 and leaf(weights["discriminator"][0]) == 2


def test_copies_survive_the_donation_of_the_original():
    x = {"a": jnp.arange(4.0)}
    kept = copy(x)
    jax.jit(lambda t: jax.tree.map(lambda v: v + 1, t), donate_argnums=0)(x)
    np.testing.assert_array_equal(kept["a"], np.arange(4.0))


def test_warm_start_takes_weights_and_restarts_the_average_there():
    fresh, donor = state(0.0, discriminator=net(5.0)), weights_of(state(3.0))
    moved = warm_start(fresh, donor, origin="there")
    generator = moved.nets["generator"]
    assert leaf(generator.params) == 3 and leaf(moved.ema["generator"][0]) == 3
    assert float(moved.ema["generator"][1]["batch_stats"]["mean"][0]) == 3
    assert float(generator.opt_state["mu"][0, 0]) == 0 and int(moved.step) == 0
    assert leaf(moved.nets["discriminator"].params) == 5
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((moved.nets, moved.ema))]
    assert len(set(buffers)) == len(buffers), "an alias would be freed twice when the state is donated"


def test_warm_start_names_the_first_parameter_of_another_shape():
    donor = {"generator": (net(1.0, (4, 3)).params, net(1.0).stats)}
    with pytest.raises(
        CheckpointError, match=r"'generator' of there has another architecture: \['dense'\]\['kernel'\] is \(4, 3\)"
    ):
        warm_start(state(0.0), donor, origin="there")


def test_warm_start_without_a_common_net_lists_both_sides():
    with pytest.raises(CheckpointError, match=r"it has nets \['denoiser'\], this run has \['generator'\]"):
        warm_start(state(0.0), {"denoiser": (net(1.0).params, {})}, origin="there")


def test_a_missing_and_a_surplus_array_are_named():
    full, part = {"a": jnp.zeros(2), "b": jnp.zeros(3)}, {"a": jnp.zeros(2)}
    with pytest.raises(CheckpointError, match=r"\['b'\] is absent there and \(3,\) here"):
        check_same_tree(full, part, what="w")
    with pytest.raises(CheckpointError, match=r"\['b'\] is \(3,\) there and absent here"):
        check_same_tree(part, full, what="w")
