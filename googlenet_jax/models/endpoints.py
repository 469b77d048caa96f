"""The outputs and shapes of a network's modules, between the images and the logits."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import Network
from googlenet_jax.models.kernels import PLAIN


def abstract_images(image_size: int, batch: int = 1) -> jax.ShapeDtypeStruct:
  """Shape and type of float32[batch, image_size, image_size, 3]."""
  return jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)


@functools.lru_cache(maxsize=64)  # tracing takes a second or more, and each figure begins with it
def abstract_variables(model: nn.Module, image_size: int) -> dict[str, Any]:
  """Shapes and types of a network's variables at an input size."""
  return jax.eval_shape(_plain(model).init, jax.random.key(0), abstract_images(image_size))


def _plain(model: nn.Module) -> nn.Module:
  """The network with one fixed form of each kernel: with a choice, every form would be traced."""
  return model.clone(forms=PLAIN) if isinstance(model, Network) else model


def endpoint_names(model: nn.Module, image_size: int) -> list[str]:
  """The names that `endpoints` accepts: those of all modules."""
  variables, images = abstract_variables(model, image_size), abstract_images(image_size)
  return list(jax.eval_shape(functools.partial(_capture, _plain(model)), variables, images))


def endpoints(
  model: nn.Module, variables: Mapping[str, Any], images: jax.Array, names: Sequence[str]
) -> dict[str, jax.Array]:
  """Outputs of intermediate modules by name: `pool1`, `inception_4e`, `inception_3a/reduce_3x3`.

  Under `jit`, only what the requested endpoints depend on is computed.

  Args:
    model: the network.
    variables: its parameters and batch statistics.
    images: float[n, h, w, 3], normalized.
    names: the endpoints to return; `endpoint_names` lists all of them.

  Raises:
    UserError: the network has no endpoint of that name.
  """
  captured = jax.eval_shape(functools.partial(_capture, _plain(model)), variables, images)
  for name in names:
    if name not in captured:
      raise UserError(f'endpoint {name!r}: not in this network; accepted: {", ".join(captured)}')
  captured = _capture(model, variables, images)
  return {name: captured[name] for name in names}


def _capture(
  model: nn.Module, variables: Mapping[str, Any], images: jax.Array
) -> dict[str, jax.Array]:
  _, state = model.apply(variables, images, capture_intermediates=True, mutable=['intermediates'])
  flat = traverse_util.flatten_dict(state['intermediates'], sep='/')
  captured = {name.removesuffix('/__call__'): value[0] for name, value in flat.items()}
  captured.pop('__call__', None)  # the network's own outputs
  return captured


class Layer(NamedTuple):
  """A top-level module of a network, as it is called in the forward pass.

  `before` and `after` are the shapes of its input and output, without the batch dimension.
  """

  name: str
  module: nn.Module
  before: tuple[int, ...]
  after: tuple[int, ...]


class Call(NamedTuple):
  """A call of a module of a network, with the module's input and output."""

  path: tuple[str, ...]
  module: nn.Module
  given: Any
  output: Any


def calls(model: nn.Module, image_size: int) -> list[Call]:
  """The calls of all modules of a network, submodules first; nothing is computed."""
  found: list[Call] = []

  def note(call: Any, arguments: Any, options: Any, context: Any) -> Any:
    output = call(*arguments, **options)
    if context.method_name == '__call__':
      found.append(Call(context.module.path, context.module.clone(), arguments[0], output))
    return output

  variables, images = abstract_variables(model, image_size), abstract_images(image_size)
  with nn.intercept_methods(note):
    jax.eval_shape(_plain(model).apply, variables, images)
  return found


@functools.lru_cache(maxsize=64)
def top_layers(model: nn.Module, image_size: int) -> tuple[Layer, ...]:
  """The top-level modules of a network in the order in which they are applied; computes nothing."""
  return tuple(
    Layer(path[0], module, given.shape[1:], output.shape[1:])
    for path, module, given, output in calls(model, image_size)
    if len(path) == 1
  )
