"""The cost of each row of a network's table: one row per top-level module, or the paper's rows."""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn

from googlenet_jax.analysis import costs
from googlenet_jax.analysis.papers import Paper, PrintedRow
from googlenet_jax.models import PREFIX, Layer, Network, top_layers


@dataclasses.dataclass(frozen=True)
class Row:
  """The cost of a row of a network's table, for one image.

  Attributes:
    name: the module's name, or the paper's name for a row of several modules.
    type: the layer in words.
    output: height, width and channels.
    depth: number of weighted layers on the longest path through the row.
    widths: output channels by the paper's columns, None for an omitted layer.
    weights: number of parameters in kernels.
    biases: number of parameters in biases and shifts.
    params: number of all parameters.
    macs: multiply-adds.
    printed: the paper's row; its cells are None if there is none.
    note: why a cell differs from the printed figure.
    params_differ: whether `params` was compared and differs from the printed figure.
    macs_differ: whether `macs` was compared and differs from the printed figure.
  """

  name: str
  type: str
  output: tuple[int, ...]
  depth: int
  widths: Mapping[str, int | None]
  weights: int
  biases: int
  params: int
  macs: int
  printed: PrintedRow
  note: str = ''
  params_differ: bool = False
  macs_differ: bool = False


def measure(
  model: Network, image_size: int, paper: Paper | None, printed: Sequence[PrintedRow]
) -> tuple[tuple[Row, ...], costs.Breakdown, costs.Breakdown]:
  """Rows without notes, and the parameters and multiply-adds of trunk and heads.

  Args:
    model: the network.
    image_size: height and width of the input.
    paper: the paper whose rows are used; None for a row per module.
    printed: the paper's rows.
  """
  by_module = costs.parameters_by_module(model, image_size)
  found = costs.contractions(model, image_size)
  macs: dict[str, int] = {}
  for contraction in found:
    module = costs.module_path(contraction.scope)
    macs[module] = macs.get(module, 0) + contraction.macs

  def row_of(module: str) -> str:
    name = module.partition('/')[0]
    return paper.row_of(name) if paper and printed else name

  groups: dict[str, list[Layer]] = {}
  for layer in top_layers(model, image_size):
    if row_of(layer.name) and not layer.name.startswith(PREFIX):
      groups.setdefault(row_of(layer.name), []).append(layer)
  rows: list[Row] = []
  by_name = {row.name: row for row in printed}
  for name, layers in groups.items():
    mine = [counts for module, counts in by_module.items() if row_of(module) == name]
    above = max((c.depth for c in found if row_of(costs.module_path(c.scope)) == name), default=0)
    rows.append(
      Row(
        name=name,
        type=_type(layers),
        output=_extent(layers[-1].after),
        depth=max(0, above - sum(row.depth for row in rows)),
        widths=_widths(layers, paper.widths_of.get(name, {}) if paper else {}),
        weights=sum(counts.weights for counts in mine),
        biases=sum(counts.biases for counts in mine),
        params=sum(counts.total for counts in mine),
        macs=sum(figure for module, figure in macs.items() if row_of(module) == name),
        printed=by_name.get(name, PrintedRow(name)),
      )
    )
  for name, module in paper.same_output.items() if paper and printed else ():
    (same,) = (row for row in rows if row.name == module)
    rows.append(Row(name, name, same.output, 0, {}, 0, 0, 0, 0, by_name[name]))
  parameters = costs.breakdown({name: counts.total for name, counts in by_module.items()})
  return tuple(rows), parameters, costs.breakdown(macs)


def _extent(shape: tuple[int, ...]) -> tuple[int, int, int]:
  """Height, width and channels of [h, w, c] or [c]."""
  return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, shape[0])


def _widths(layers: Sequence[Layer], columns: Mapping[str, str]) -> dict[str, int | None]:
  if columns:
    features = {layer.name: layer.module.features for layer in layers}
    found = {column: features.get(module) for column, module in columns.items()}
    return {column: channels for column, channels in found.items() if channels is not None}
  widths = getattr(layers[-1].module, 'widths', None)
  return dataclasses.asdict(widths) if dataclasses.is_dataclass(widths) else {}  # type: ignore[arg-type]


def _type(layers: Sequence[Layer]) -> str:
  """The entry of the column "type" for the modules of a row."""
  first, last = layers[0].module, layers[-1].module
  if len(layers) > 1 and getattr(first, 'groups', 1) == layers[0].before[-1]:
    return f'separable {_one(layers[0]).partition(" ")[2]}'  # depthwise, then pointwise
  if len(layers) > 1 and type(first) is type(last) and not hasattr(first, 'features'):
    return f'{_one(layers[-1])} x{len(layers)}'
  return _one(layers[-1])


def _one(layer: Layer) -> str:
  module = layer.module
  if isinstance(module, nn.Dropout):
    return f'dropout ({module.rate:.0%})'
  if isinstance(module, nn.Dense):
    return 'linear'
  if row_type := getattr(module, 'row_type', None):
    return row_type(layer.before[0], layer.after[0])
  return {'LocalResponseNorm': 'LRN'}.get(type(module).__name__, type(module).__name__)
