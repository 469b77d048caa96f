"""Compiles a function and its gradient for a machine, possibly absent, to get predictions."""

import time
from collections.abc import Callable
from typing import Any

from googlenet_jax.analysis.ahead import targets


def with_gradient(
  function: Callable[[Any, Any], Any],
  params: Any,
  before: tuple[int, ...],
  after: tuple[int, ...],
  target: targets.Target,
) -> dict[str, Any]:
  """Compiles (parameters, x, gradient of y) -> (y, gradients) in bfloat16; nothing is computed.

  Args:
    function: (parameters, x) -> y.
    params: shapes and dtypes of the parameters, which are on every chip.
    before: the shape of x, whose first axis is split over the chips.
    after: the shape of y.
    target: the machine, for which `targets.prepare` has been called.
  """
  import jax
  import jax.numpy as jnp

  from googlenet_jax.analysis.ahead.program import memory_of, predict
  from googlenet_jax.training.devices.parallelism import DataParallel

  def both(params: Any, x: jax.Array, gradient: jax.Array) -> Any:
    y, pull = jax.vjp(function, params, x)
    return y, *pull(gradient)

  parallel = DataParallel(targets.devices(target))
  everywhere, shared = parallel.replicated, parallel.sharded
  jitted = jax.jit(
    both,
    in_shardings=(everywhere, shared, shared),
    out_shardings=(shared, everywhere, shared),
  )
  x, y = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in (before, after))
  began = time.perf_counter()
  compiled = jitted.lower(params, x, y).compile()
  seconds = time.perf_counter() - began
  assert target.chip
  return figures(predict(compiled, target.chip, 0, 'both'), memory_of(compiled), seconds)


def figures(predicted: Any, memory: Any, seconds: float) -> dict[str, Any]:
  """The figures that benchmarks print for a program, per chip.

  Args:
    predicted: a `Prediction`.
    memory: its `Memory`.
    seconds: compilation time.
  """
  return {
    'seconds': predicted.seconds,
    'cycles': predicted.cycles,
    'without_estimate': predicted.unestimated / predicted.seconds,
    'temporaries': memory.temporaries,
    'traffic': predicted.traffic,
    'collectives': sum(exchange.count for exchange in predicted.collectives),
    'compile_seconds': seconds,
  }
