"""From images in [0, 1] to what a published network was trained on; the rule is also told in words, for results."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from medjax.types import Array, ConfigError


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """`preprocess(images)`: float32 `[B, H, W, 1 or 3]` in [0, 1], RGB, to the network's input.

    channels: 3 (a grey image is repeated) or 1 (a coloured one is averaged). size: (height, width) or None for the
    images' own; antialias: whether the bilinear resize widens its kernel where it reduces. mean, std: subtracted and
    divided by, per channel.
    """

    channels: int = 3
    size: tuple[int, int] | None = None
    antialias: bool = True
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __call__(self, images: Array) -> Array:
        """See the class. Raises ConfigError for another number of channels."""
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise ConfigError(f"images are [B, H, W, 1 or 3], not {list(images.shape)}")
        x = jnp.asarray(images, jnp.float32)
        if self.channels == 1 and x.shape[-1] == 3:
            x = x.mean(-1, keepdims=True)
        if self.size and tuple(x.shape[1:3]) != tuple(self.size):
            x = jax.image.resize(x, (x.shape[0], *self.size, x.shape[3]), "bilinear", antialias=self.antialias)
        if self.channels == 3 and x.shape[-1] == 1:
            x = jnp.repeat(x, 3, axis=-1)
        return (x - jnp.array(self.mean, jnp.float32)) / jnp.array(self.std, jnp.float32)

    def at(self, size: tuple[int, int] | None) -> Preprocess:
        """The same at another size; None resizes nothing."""
        return dataclasses.replace(self, size=size)

    @property
    def words(self) -> str:
        """The rule as a sentence, for the results that depend on it."""
        colour = "RGB, a grey image repeated to three equal channels" if self.channels == 3 else "one channel, RGB averaged"
        how = "with" if self.antialias else "without"
        resize = f"resized to {self.size[0]}x{self.size[1]}, bilinear {how} antialiasing" if self.size else "not resized"
        show = lambda values: ", ".join(f"{v:g}" for v in values)  # noqa: E731
        return f"{colour}; {resize}; ([0, 1] - ({show(self.mean)})) / ({show(self.std)})"
