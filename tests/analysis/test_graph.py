"""Graphs of networks: layers, joins and paths, against the papers' own figures."""

import functools

import jax.numpy as jnp
import pytest
from flax import linen as nn

from googlenet_jax.analysis.graph import IMAGE, trace_graph
from googlenet_jax.models import FAMILIES, PREFIX, build, top_layers
from googlenet_jax.models.family import Network, Outputs


@functools.cache
def graph_of(family, variant, aux=()):
  return trace_graph(build(family, variant, aux=aux), FAMILIES[family].variants[variant].image_size)


def branches(graph, module):
  """Kind, kernel and channels of a module's layers that lead to its last node."""
  inside = {i: node for i, node in enumerate(graph.nodes) if node.top == module}
  *_, last = inside.values()

  def way(i):
    if i not in inside:
      return ()
    node = inside[i]
    return (*way(node.inputs[0]), (node.kind, node.kernel[0], node.shape[-1]))

  return last.kind, [way(i) for i in last.inputs]


def test_the_branches_of_an_inception_module():
  graph = graph_of('googlenet', 'table1', ('4a', '4d'))
  assert branches(graph, 'inception_3a') == (
    'concat',
    [
      (('conv', 1, 64),),
      (('conv', 1, 96), ('conv', 3, 128)),
      (('conv', 1, 16), ('conv', 5, 32)),
      (('max pool', 3, 192), ('conv', 1, 32)),
    ],
  )


def test_googlenet_has_27_layers_with_pools_and_97_blocks():
  """Section 5: "22 layers deep (or 27 layers if we also count pooling)", "about 100" blocks."""
  graph = graph_of('googlenet', 'table1', ('4a', '4d'))
  assert (graph.depth_with_pools, graph.blocks) == (27, 97)


def test_heads_read_the_modules_that_they_are_named_after():
  graph = graph_of('googlenet', 'table1', ('4a', '4d'))
  first = {node.top: node for node in reversed(graph.nodes) if node.top.startswith(PREFIX)}
  hosts = {name: graph.nodes[node.inputs[0]].top for name, node in first.items()}
  assert hosts == {'aux_4a': 'inception_4a', 'aux_4d': 'inception_4d'}


def test_residual_blocks_add_what_comes_in():
  graph = graph_of('resnet', 'resnet20')
  sums = [node for node in graph.nodes if node.kind == 'add']
  assert len(sums) == 9 and all(len(node.inputs) == 2 for node in sums)
  block = next(node for node in sums if node.module == 'conv2_2')
  assert 'conv2_1' in {graph.nodes[i].top for i in block.inputs}


@pytest.mark.parametrize('family', FAMILIES)
def test_every_top_level_module_is_in_the_graph_in_its_order(family):
  variant = min(FAMILIES[family].variants, key=lambda v: FAMILIES[family].variants[v].image_size)
  size = FAMILIES[family].variants[variant].image_size
  graph = graph_of(family, variant)
  names = [layer.name for layer in top_layers(build(family, variant), size)]
  assert [path for path in graph.modules if '/' not in path] == names
  assert [name for name in names if name in {node.top for node in graph.nodes}] == list(
    dict.fromkeys(node.top for node in graph.nodes)
  )


class _Parts(Network):
  """Two branches on the images, one of which is a 1x1 convolution as a matrix product."""

  @nn.compact
  def __call__(self, images, train=False):
    left = nn.Conv(4, (1, 3), strides=2, name='left')(images)
    right = nn.Dense(5, name='right')(images[:, ::2, ::2])
    x = jnp.concatenate([left, nn.relu(right)], axis=-1).mean((1, 2))
    return Outputs(nn.Dense(self.classes, name='classifier')(x), {})


def test_kernels_strides_and_joins_are_those_of_the_computation():
  nodes = trace_graph(_Parts(classes=3), 8).nodes
  assert [(n.kind, n.kernel, n.stride, n.shape, n.inputs) for n in nodes] == [
    ('conv', (1, 3), 2, (4, 4, 4), (IMAGE,)),
    ('conv', (1, 1), 1, (4, 4, 5), (IMAGE,)),
    ('concat', None, 1, (4, 4, 9), (0, 1)),
    ('avg pool', (4, 4), 1, (9,), (2,)),
    ('linear', (1, 1), 1, (3,), (3,)),
  ]
