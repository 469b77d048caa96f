"""The outputs and shapes of a network's modules, between the images and the logits."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.extend import core

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import Network
from googlenet_jax.models.kernels import PLAIN
from googlenet_jax.models.layers import SHAPES_ONLY


def abstract_images(image_size: int, batch: int = 1) -> jax.ShapeDtypeStruct:
  """The shape and dtype of images, float32[batch, image_size, image_size, 3]."""
  return jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)


class Call(NamedTuple):
  """A call to one of a network's modules, with the shapes and dtypes of its input and output."""

  path: tuple[str, ...]
  module: nn.Module
  given: Any
  output: Any


class Traced(NamedTuple):
  """The trace of a network's initialization and inference on one image.

  Attributes:
    variables: shapes and dtypes of the network's variables.
    calls: the calls to all modules, in the order in which they start.
    computation: all operations, labeled with module names; its last input is the image. Kernels
      are zero in it, because tracing random initial values would take more than half of the time.
  """

  variables: dict[str, Any]
  calls: tuple[Call, ...]
  computation: core.ClosedJaxpr


@functools.lru_cache(maxsize=64)  # tracing takes up to a second, and every figure needs it
def traced(model: nn.Module, image_size: int) -> Traced:
  """Traces a network, once for all uses of its structure; nothing is computed.

  Kernels are in their plain forms: if the platform chose the form, every form would be traced.
  """
  plain = model.clone(forms=PLAIN) if isinstance(model, Network) else model
  found: list[Any] = []

  def note(call: Any, arguments: Any, options: Any, context: Any) -> Any:
    if context.method_name != '__call__':
      return call(*arguments, **options)
    place = len(found)
    found.append(None)
    output = call(*arguments, **options)
    shapes = jax.tree.map(_abstract, (arguments[0], output))
    found[place] = Call(context.module.path, context.module.clone(), *shapes)
    return output

  @functools.partial(flax.core.init, flags={SHAPES_ONLY: True})
  def initialize(scope: flax.core.Scope, images: jax.Array) -> Any:
    return plain.clone(parent=scope)(images)

  # Labels operations with the names of modules, even where FLAX_PROFILE is off.
  with nn.intercept_methods(note), nn.override_named_call(True):
    computation, (_, variables) = jax.make_jaxpr(initialize, return_shape=True)(
      jax.random.key(0), abstract_images(image_size)
    )
  return Traced(variables, tuple(found), computation)


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype)


def abstract_variables(model: nn.Module, image_size: int) -> dict[str, Any]:
  """The shapes and dtypes of a network's variables at a given input size."""
  return traced(model, image_size).variables


def endpoint_names(model: nn.Module, image_size: int) -> list[str]:
  """The names that `endpoints` accepts, one for each module."""
  paths = {call.path for call in traced(model, image_size).calls if call.path}
  return ['/'.join(path) for path in sorted(paths)]


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
    UserError: the network has no endpoint with that name.
  """
  accepted = endpoint_names(model, max(images.shape[1:3]))
  for name in names:
    if name not in accepted:
      raise UserError(f'endpoint {name!r}: not in this network; accepted: {", ".join(accepted)}')
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


@functools.lru_cache(maxsize=64)
def top_layers(model: nn.Module, image_size: int) -> tuple[Layer, ...]:
  """The top-level modules of a network in the order in which they are applied; computes nothing."""
  return tuple(
    Layer(path[0], module, given.shape[1:], output.shape[1:])
    for path, module, given, output in traced(model, image_size).calls
    if len(path) == 1
  )
