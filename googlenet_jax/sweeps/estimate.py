"""How long members will take: from those that are done, else from the speed of this CPU."""

import functools
import time

from googlenet_jax.sweeps.status import DONE, Status
from googlenet_jax.sweeps.study import Costs

BACKWARD = 3  # a training step costs about three forward passes
COMPILATION = 20.0  # seconds of one core before the first step; less where a seed has gone before


def seconds(costs: Costs, rate: float, step: int = 0) -> float:
  """Seconds that training from a step on takes at `rate` multiply-adds a second, compiled."""
  left = max(0.0, 1 - step / costs.steps)
  return BACKWARD * costs.training_macs * costs.images * left / rate


def measured_rate(costs: dict[str, Costs], statuses: dict[str, Status]) -> float | None:
  """Multiply-adds a second of the members that are done, None where none is."""
  rates = [
    BACKWARD * costs[name].training_macs * status.images_per_second
    for name, status in statuses.items()
    if status.state == DONE and status.images_per_second and name in costs
  ]
  return sorted(rates)[len(rates) // 2] if rates else None


@functools.cache
def cpu_rate() -> float:
  """Multiply-adds a second of this process's cores in a convolution of Inception's size."""
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
  # Narrow layers, pools and the input reach about a fifth of it in a whole step.
  return macs * count / (time.perf_counter() - began) / 5
