"""Estimates how long members will take, from finished members or else from this CPU's speed."""

import functools
import time

from googlenet_jax.sweeps.status import DONE, Status
from googlenet_jax.sweeps.study import Costs

BACKWARD = 3  # a training step costs about three forward passes
COMPILATION = 20.0  # core-seconds before the first step; less if another seed has already run


def seconds(costs: Costs, rate: float, step: int = 0) -> float:
  """Seconds of training from `step` on at `rate` multiply-adds per second, without compilation."""
  left = max(0.0, 1 - step / costs.steps)
  return BACKWARD * costs.training_macs * costs.images * left / rate


def measured_rate(costs: dict[str, Costs], statuses: dict[str, Status]) -> float | None:
  """Median multiply-adds per second over the members that are done; None if there are none."""
  rates = [
    BACKWARD * costs[name].training_macs * status.images_per_second
    for name, status in statuses.items()
    if status.state == DONE and status.images_per_second and name in costs
  ]
  return sorted(rates)[len(rates) // 2] if rates else None


@functools.cache
def cpu_rate() -> float:
  """Multiply-adds per second that this process's cores reach in a training step (a rough guess).

  It is measured with a convolution as large as those in Inception modules.
  """
  import jax
  import jax.numpy as jnp

  images, kernel = jnp.ones((32, 28, 28, 96)), jnp.ones((3, 3, 96, 128))

  @jax.jit
  def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), 'SAME', dimension_numbers=numbers)

  convolve(images, kernel).block_until_ready()
  began, count = time.perf_counter(), 0
  while time.perf_counter() < began + 0.3:
    convolve(images, kernel).block_until_ready()
    count += 1
  macs = 32 * 28 * 28 * 9 * 96 * 128
  # Because of narrow layers, pools and input, a whole step reaches about a fifth of this rate.
  return macs * count / (time.perf_counter() - began) / 5
