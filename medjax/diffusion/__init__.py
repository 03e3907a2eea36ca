"""Diffusion as pure functions: noise schedules, the forward process, what a network predicts, and samplers.

Images are float32 `[B, H, W, C]` in [-1, 1]. A time t counts from 0, one step of noise, to T - 1, all of them; `alpha_bar[t]`
is the paper's alpha_bar_{t+1}. t is int32 `[B]`, a time for each image, or a scalar.
"""

from medjax.diffusion.process import (
    PREDICTIONS,
    WEIGHTINGS,
    loss_weight,
    posterior,
    q_sample,
    snr,
    target_of,
    to_epsilon,
    to_x0,
)
from medjax.diffusion.samplers import SAMPLERS, SPACINGS, check, field, sample, timesteps
from medjax.diffusion.schedules import SCHEDULES, Schedule, cosine, from_betas, linear, make_schedule

__all__ = [
    "PREDICTIONS",
    "SAMPLERS",
    "SCHEDULES",
    "SPACINGS",
    "WEIGHTINGS",
    "Schedule",
    "check",
    "cosine",
    "field",
    "from_betas",
    "linear",
    "loss_weight",
    "make_schedule",
    "posterior",
    "q_sample",
    "sample",
    "snr",
    "target_of",
    "timesteps",
    "to_epsilon",
    "to_x0",
]
