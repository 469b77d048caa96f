"""Figures of the gradients of weights and of activations: pure functions, to be jitted.

A tap is applied to a module's output. It changes nothing, but records figures of the gradient that
flows back through it, so that no gradient of an activation has to be kept.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Figures = dict[str, jax.Array]


def with_taps(loss: Callable, names: Collection[str]) -> Callable:
  """The function (params, *arguments) -> (gradient, auxiliary results, figures by module).

  A module's activations are its output in training. The figures are taken over all images,
  positions and channels, and are float32 scalars unless noted:

    `activation_mean_abs_gradient`, `activation_rms_gradient`: mean absolute value and root mean
      square of the gradient of the loss with respect to the activations.
    `activation_rms`: root mean square of the activations themselves.
    `negative`: bool, whether any activation is below 0, which is impossible after a ReLU.
    `alive`: bool[channels], whether a channel is nonzero at any position of any image.

  Args:
    loss: (params, *arguments) -> (scalar, auxiliary results); it calls the network.
    names: paths of modules, each of which the network calls once.
  """

  def tapped(params: Any, slots: Any, *arguments: Any) -> tuple[jax.Array, tuple[Any, Any]]:
    seen: dict[str, Figures] = {}

    def tap(call: Any, inputs: Any, options: Any, context: Any) -> Any:
      output = call(*inputs, **options)
      name = '/'.join(context.module.path)
      if context.method_name != '__call__' or name not in slots:
        return output
      seen[name] = _activations(jax.lax.stop_gradient(output))
      return _tap(output, slots[name])

    with nn.intercept_methods(tap):
      value, auxiliary = loss(params, *arguments)
    return value, (auxiliary, seen)

  gradients = jax.grad(tapped, argnums=(0, 1), has_aux=True)

  def run(params: Any, *arguments: Any) -> tuple[Any, Any, dict[str, Figures]]:
    slots = {name: jnp.zeros(2) for name in names}
    (of_params, flows), (auxiliary, seen) = gradients(params, slots, *arguments)
    for name, (mean_abs, rms) in flows.items():
      seen[name] |= {'activation_mean_abs_gradient': mean_abs, 'activation_rms_gradient': rms}
    return of_params, auxiliary, seen

  return run


def weight_figures(
  params: Any, gradient: Any, updated: Any, layers: Collection[str]
) -> dict[str, Figures]:
  """Figures for the kernel of each layer, float32 scalars.

  These are the gradient's mean absolute value and root mean square, `mean_abs_gradient` and
  `rms_gradient`, and the root mean squares of the kernel and of its update, `weight_rms` and
  `update_rms`.

  Args:
    params: parameters before the step.
    gradient: the gradient of the loss.
    updated: parameters after the step.
    layers: paths of modules that have a kernel.
  """
  found = {}
  for layer in layers:
    before, slope, after = (_kernel(tree, layer) for tree in (params, gradient, updated))
    found[layer] = {
      'mean_abs_gradient': jnp.abs(slope).mean(),
      'rms_gradient': root_mean_square(slope),
      'weight_rms': root_mean_square(before),
      'update_rms': root_mean_square(after - before),
    }
  return found


def root_mean_square(x: jax.Array) -> jax.Array:
  """The root mean square, float32, even if the squares are too small for float32."""
  x = x.astype(jnp.float32)
  most = jnp.abs(x).max()
  scale = jnp.where(most > 0, most, 1.0)
  return scale * jnp.sqrt(jnp.square(x / scale).mean())


def _activations(output: jax.Array) -> Figures:
  return {
    'activation_rms': root_mean_square(output),
    'negative': (output < 0).any(),
    'alive': (output != 0).any(tuple(range(output.ndim - 1))),
  }


def _kernel(tree: Mapping[str, Any], layer: str) -> jax.Array:
  for name in layer.split('/'):
    tree = tree[name]
  return tree['kernel'].astype(jnp.float32)


@jax.custom_vjp
def _tap(x: jax.Array, slot: jax.Array) -> jax.Array:
  """Returns `x`; the gradient of `slot`, float32[2], holds figures of the gradient of `x`."""
  return x


def _forward(x: jax.Array, slot: jax.Array) -> tuple[jax.Array, None]:
  return x, None


def _backward(_: None, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
  mean_abs = jnp.abs(gradient.astype(jnp.float32)).mean()
  return gradient, jnp.stack([mean_abs, root_mean_square(gradient)])


_tap.defvjp(_forward, _backward)
