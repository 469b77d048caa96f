"""A network as a graph of its layers, taken from the traced computation; nothing is computed."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
from jax.extend import core

from googlenet_jax.analysis import costs, trace
from googlenet_jax.models import PREFIX, Network, traced

Kind = Literal['conv', 'linear', 'max pool', 'avg pool', 'concat', 'add']
IMAGE = -1
"""The source of edges that come from the images."""


@dataclasses.dataclass(frozen=True)
class Node:
  """A layer, or a join of several maps.

  Attributes:
    kind: the kind of layer or join.
    module: the path of its module, such as `inception_3a/conv1x1`; for a pool or a concatenation,
      the module that contains it.
    inputs: the nodes that it reads, or `IMAGE`.
    shape: the shape of its output, without the batch dimension.
    kernel: height and width of the kernel or window, None for a join.
    stride: rows from one window to the next.
    groups: number of channel groups of a convolution.
  """

  kind: Kind
  module: str
  inputs: tuple[int, ...]
  shape: tuple[int, ...]
  kernel: tuple[int, int] | None = None
  stride: int = 1
  groups: int = 1

  @property
  def top(self) -> str:
    """The name of its top-level module."""
    return self.module.partition('/')[0]


@dataclasses.dataclass(frozen=True)
class Graph:
  """The nodes of a network, heads included, in the order of the computation.

  `modules` are all modules by path, in the order in which they are called.
  """

  nodes: tuple[Node, ...]
  modules: Mapping[str, nn.Module]

  @property
  def depth_with_pools(self) -> int:
    """Weighted layers and pools on the longest path to the classifier."""
    depths: dict[int, int] = {IMAGE: 0}
    for index, node in enumerate(self.nodes):
      counts = node.kind not in ('concat', 'add')
      depths[index] = max(depths[source] for source in node.inputs) + counts
    return max(depths[i] for i, node in enumerate(self.nodes) if not node.top.startswith(PREFIX))

  @property
  def blocks(self) -> int:
    """All nodes, modules without a node (normalization, dropout), and a softmax per classifier."""
    holders = {node.module for node in self.nodes}
    others = [
      path
      for path in self.modules
      if path not in holders and not any(inner.startswith(f'{path}/') for inner in self.modules)
    ]
    heads = {node.top for node in self.nodes if node.top.startswith(PREFIX)}
    return len(self.nodes) + len(others) + 1 + len(heads)


def trace_graph(model: Network, image_size: int) -> Graph:
  """The graph of a network at inference, including any heads."""
  found = traced(model, image_size)
  closed = found.computation
  inputs: list[int | None] = [None] * len(closed.jaxpr.invars)
  inputs[-1] = IMAGE
  nodes: list[Node] = []
  _walk(closed.jaxpr, inputs, '', nodes)
  modules = {'/'.join(call.path): call.module for call in found.calls if call.path}
  return Graph(tuple(nodes), modules)


def _walk(jaxpr: Any, inputs: list[int | None], scope: str, nodes: list[Node]) -> list[int | None]:
  """Adds the nodes of a computation; returns the nodes that its results come from.

  Every value is traced back to the node that made it; None stands for a parameter or a constant.
  """
  made: dict[Any, int | None] = dict(zip(jaxpr.invars, inputs, strict=True))

  def read(atom: Any) -> int | None:
    return None if isinstance(atom, core.Literal) else made.get(atom)

  for equation in jaxpr.eqns:
    sources = [read(atom) for atom in equation.invars]
    inside = trace.join_scope(scope, equation.source_info.name_stack)
    if equation.primitive.name in trace.CALLS:
      results = _walk(trace.inner_jaxprs(equation)[0], sources, inside, nodes)
    else:
      found = tuple(dict.fromkeys(source for source in sources if source is not None))
      node = _node(equation, found, costs.module_path(inside)) if found else None
      if node:
        nodes.append(node)
      source = len(nodes) - 1 if node else next(iter(found), None)
      results = [source] * len(equation.outvars)
    made.update(zip(equation.outvars, results, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _node(equation: Any, sources: tuple[int, ...], module: str) -> Node | None:
  """The node for an equation, or None if it is elementwise, such as a ReLU."""
  name, params = equation.primitive.name, equation.params
  shape = tuple(equation.outvars[0].aval.shape[1:])
  if name == 'conv_general_dilated':
    rows, columns = (
      equation.invars[1].aval.shape[axis] for axis in params['dimension_numbers'].rhs_spec[2:]
    )
    stride, groups = params['window_strides'][0], params['feature_group_count']
    return Node('conv', module, sources, shape, (rows, columns), stride, groups)
  if name == 'dot_general':
    # Applied to a map, it is a 1x1 convolution.
    return Node('conv' if len(shape) == 3 else 'linear', module, sources, shape, (1, 1))
  if name in ('reduce_window_max', 'reduce_window_sum'):
    kind: Kind = 'max pool' if name.endswith('max') else 'avg pool'
    window, strides = params['window_dimensions'], params['window_strides']
    return Node(kind, module, sources, shape, window[1:3], strides[1])
  if name == 'reduce_sum' and tuple(params['axes']) == (1, 2):
    return Node('avg pool', module, sources, shape, equation.invars[0].aval.shape[1:3])
  if name == 'concatenate' and len(sources) > 1:
    return Node('concat', module, sources, shape)
  if name in ('add', 'add_any') and len(sources) > 1:
    return Node('add', module, sources, shape)
  return None
