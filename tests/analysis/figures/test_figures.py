"""Pictures: labels do not touch, nor boxes of diagrams, and files are reproducible."""

import itertools

import pytest

from googlenet_jax.analysis.compare.networks import Compared, compared, graph_of, resolve
from googlenet_jax.analysis.figures import depth, diagram, layout, tradeoffs
from googlenet_jax.analysis.figures.labels import Box, place
from googlenet_jax.analysis.figures.theme import DARK, LIGHT, save, text_width
from googlenet_jax.models import PREFIX

NETWORKS = ('googlenet/table1', 'alexnet/two_tower', 'resnet/resnet20', 'googlenet/small')


def apart(boxes):
  return not any(a.touches(b) for a, b in itertools.combinations(boxes, 2))


def test_crowded_labels_are_apart_and_inside():
  edge = Box(0, 0, 300, 200)
  anchors = [(150 + 3 * i, 100 + (i % 3)) for i in range(12)]
  markers = [Box(x, y, x, y).grown(4) for x, y in anchors]
  boxes = place(anchors, [(60, 12)] * 12, markers, edge)
  assert apart(boxes) and all(box.within(edge) for box in boxes)
  assert not any(box.touches(marker) for box in boxes for marker in markers)


def test_no_room_is_an_error():
  with pytest.raises(ValueError, match='no room for a label'):
    place([(5, 5)], [(60, 12)], [], Box(0, 0, 20, 20))


ALL = resolve([])
QUICK = [name for name in ALL if not name.startswith(('inception/', 'bn_inception/'))]


@pytest.mark.parametrize('figure', ['macs', 'params'])
@pytest.mark.parametrize(
  'names', [QUICK, pytest.param(ALL, marks=pytest.mark.long)], ids=['quick', 'all']
)
def test_labels_of_networks_do_not_touch(names, figure):
  networks = [compared(name) for name in names]
  canvas, boxes = tradeoffs.draw(networks, figure, LIGHT)
  assert len(boxes) == len(tradeoffs.with_error(networks)) > 5 and apart(boxes)
  check_clear_of_lines(canvas, boxes)


def check_clear_of_lines(canvas, boxes):
  """Checks that no label covers a line that joins the two errors of a network."""
  (axes,) = canvas.axes
  ends = [axes.transData.transform(line.get_xydata()) * 72 / canvas.dpi for line in axes.lines]
  lines = [Box(*low, *high).grown(0.5) for high, low in (line for line in ends if len(line) == 2)]
  assert lines and not any(box.touches(line) for box in boxes for line in lines)


def test_a_label_goes_below_if_a_line_is_above():
  # No room beside GoogLeNet's point: BN-Inception's is to the right, the edge to the left.
  networks = [
    Compared('googlenet', 'table1', 'GoogLeNet', 2014, 224, 22, 6_998_552, 0, 0),
    Compared('bn_inception', 'bn_inception', 'BN-Inception', 2015, 224, 34, 11_188_288, 0, 0),
    Compared('vgg', 'vgg16', 'VGG-16', 2014, 224, 16, 138_357_544, 0, 0),
  ]
  check_clear_of_lines(*tradeoffs.draw(networks, 'params', LIGHT))


@pytest.mark.parametrize('name', NETWORKS)
def test_boxes_of_a_diagram_are_apart_and_as_wide_as_their_text(name):
  found = layout.cells(graph_of(name))
  for cell in found:
    half = layout.BOX / 2
    boxes = [Box(p.x, p.y - half, p.x + p.width, p.y + half) for p in cell.pieces]
    assert apart(boxes)
    inside = Box(0, -cell.bottom, cell.width, cell.top)
    assert all(box.within(inside) for box in boxes)
    assert all(text_width(p.text, layout.LETTERS) < p.width for p in cell.pieces)
  rows = layout.lines(found, diagram.WIDTH, diagram.GAP)
  assert [cell for row in rows for cell in row] == found
  assert all(sum(c.width + diagram.GAP for c in row) <= diagram.WIDTH + 20 for row in rows)


def test_a_diagram_shows_every_module_once_and_heads_where_they_read():
  graph = graph_of('googlenet/table1')
  found = layout.cells(graph)
  shown = [name for cell in found for name in cell.names]
  assert shown == [p for p in graph.modules if '/' not in p and not p.startswith(PREFIX)]
  heads = {cell.names[0]: [head.title for head in cell.heads] for cell in found if cell.heads}
  assert heads == {'inception_4a': ['aux_4a'], 'inception_4d': ['aux_4d']}
  (module,) = (cell for cell in found if cell.names == ('inception_5b',))
  texts = [piece.text.split() for piece in module.pieces]
  assert texts[:2] == [['1x1', '384'], ['1x1', '192']] and module.shape == '7x7x1024'
  # Reductions and the pool are on the left, the branches' outputs one below another on the right.
  assert len({piece.x for piece in module.pieces}) == 2


def test_blocks_that_are_alike_are_drawn_once():
  found = layout.cells(graph_of('resnet/resnet20'))
  assert [cell.title for cell in found if len(cell.names) > 1] == [
    'conv2_1 to conv2_3, 3 times',
    'conv3_2 to conv3_3, 2 times',
    'conv4_2 to conv4_3, 2 times',
  ]


def test_entries_are_in_the_order_of_years():
  found = depth.entries([compared(name) for name in QUICK])
  shown = [(error.entry, network.depth) for error, network in found]
  assert shown == [(2012, 8), (2013, 8), (2014, 19), (2014, 22), (2015, 152)]


def test_files_are_the_same_each_time(tmp_path):
  networks = [compared(name) for name in NETWORKS[:2]]
  for folder in ('a', 'b'):
    figure, _ = tradeoffs.draw(networks, 'macs', DARK)
    assert save(figure, DARK, tmp_path / folder, 'macs', png=True) == [
      'macs-dark.svg',
      'macs-dark.png',
    ]
  for path in (tmp_path / 'a').iterdir():
    assert path.read_bytes() == (tmp_path / 'b' / path.name).read_bytes()
