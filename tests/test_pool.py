"""The image pool: its order while it is filled, halves swapped afterwards, never a blank, and a pool of none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.pool import empty, exchange
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

QUERY = jax.jit(exchange)


def numbered(first, count=4):
    """Images `[count, 2, 2, 1]` that are filled with their own numbers, from 1 on: 0 is a blank."""
    return jnp.arange(first, first + count, dtype=jnp.float32)[:, None, None, None] * jnp.ones((1, 2, 2, 1))


def run(batches, size, seed=0, count=4):
    """What was shown and held after each batch, as the numbers of the images."""
    pool, shown, held = empty(size, numbered(1, count)), [], []
    for i in range(batches):
        pool, out = QUERY(jax.random.fold_in(jax.random.key(seed), i), pool, numbered(1 + count * i, count))
        shown.append(np.asarray(out)[:, 0, 0, 0])
        held.append(np.asarray(pool.images)[:, 0, 0, 0])
        assert (np.asarray(out) == np.asarray(out)[:, :1, :1]).all(), "an image stays whole"
    return np.concatenate(shown), held, pool


def test_it_is_filled_in_order_and_shows_what_comes_meanwhile():
    """6 places and batches of 4: the pool is full in the middle of the second batch."""
    shown, held, pool = run(2, 6)
    assert shown[:6].tolist() == [1, 2, 3, 4, 5, 6] and held[0].tolist() == [1, 2, 3, 4, 0, 0]
    assert int(pool.count) == 6 and set(held[1]) <= set(range(1, 9))


def test_half_are_swapped_for_an_earlier_image_and_never_for_a_blank():
    """Of 796 images after the filling, within four standard deviations of the half; places are drawn evenly."""
    shown, held, pool = run(200, 4)
    sent, after = np.arange(1, 801), 796
    swapped = (shown != sent)[4:]
    assert abs(swapped.sum() - after / 2) < 4 * np.sqrt(after / 4)
    assert (shown > 0).all() and (shown <= sent).all() and (held[-1] > 0).all() and int(pool.count) == 4
    assert sorted({*sent[4:][swapped], 1, 2, 3, 4}) == sorted({*shown[4:][swapped], *held[-1]}), "nothing is lost or doubled"


def test_a_batch_is_gone_through_in_order():
    """Independent of jax: the same rule in numpy, from the same draws."""
    size, pool, held = 3, empty(3, numbered(1)), []
    for i in range(12):
        key, images = jax.random.key(i), numbered(1 + 4 * i)
        pool, out = QUERY(key, pool, images)
        for place in range(4):
            swap, slot = jax.random.split(jax.random.fold_in(key, place))
            number = 1.0 + 4 * i + place
            if len(held) < size:
                held.append(number)
            elif bool(jax.random.bernoulli(swap, 0.5)):
                slot = int(jax.random.randint(slot, (), 0, size))
                number, held[slot] = held[slot], number
            assert float(out[place, 0, 0, 0]) == number
        assert np.asarray(pool.images)[: len(held), 0, 0, 0].tolist() == held


def test_a_pool_of_none_is_the_identity_and_the_key_decides_the_rest():
    pool, out = QUERY(jax.random.key(0), empty(0, numbered(1)), numbered(1))
    np.testing.assert_array_equal(out, numbered(1))
    assert pool.images.shape == (0, 2, 2, 1) and int(pool.count) == 0
    np.testing.assert_array_equal(run(9, 4)[0], run(9, 4)[0])
    assert (run(9, 4)[0] != run(9, 4, seed=1)[0]).any()
    with pytest.raises(ConfigError, match="0 images or more, not -1"):
        empty(-1, numbered(1))
