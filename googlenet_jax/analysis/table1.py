"""The audit of Table 1: what a network's rows cost, beside what the paper prints."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.analysis import costs, notes, paper, trace
from googlenet_jax.analysis.rows import Row
from googlenet_jax.models import GoogLeNet, endpoints, googlenet
from googlenet_jax.models.layers import ConvUnit

SMALL_IMAGE_SIZE = 32  # of the variant `small`
ROW_OF = {'conv1_depthwise': 'conv1', 'conv2_reduce': 'conv2'}  # rows of more than one module


@dataclasses.dataclass(frozen=True)
class Figures:
  """Parameters and multiply-adds of one image, under a name."""

  name: str
  params: int
  macs: int


@dataclasses.dataclass(frozen=True)
class ReductionExample:
  """What a 1x1 reduction saves in front of a convolution, in multiply-adds."""

  source: tuple[int, int, int]
  kernel: int
  features: int
  reduction: int
  direct: int
  reduced: int

  @property
  def saved(self) -> float:
    """The share of the multiply-adds that the reduction saves."""
    return 1 - self.reduced / self.direct


@dataclasses.dataclass(frozen=True)
class Audit:
  """Table 1 for a network: `rows`, totals of the inference network, and what stands below.

  `knobs` are the settings that differ from the variant's own. `training_params` counts the heads
  too. `remarks` say what was compared and with what result.
  """

  variant: str
  image_size: int
  classes: int
  knobs: dict[str, Any]
  rows: tuple[Row, ...]
  params: int
  macs: int
  depth: int
  aux: tuple[Figures, ...]
  training_params: int
  examples: tuple[ReductionExample, ...]
  remarks: tuple[str, ...]

  @property
  def alexnet_ratio(self) -> float:
    """AlexNet's parameters over those of the network; the paper says 12."""
    return paper.ALEXNET_PARAMETERS / self.params


def audit(
  variant: str = 'table1',
  *,
  width: float = 1.0,
  reduction: float = 1.0,
  reduction_3x3: float | None = None,
  reduction_5x5: float | None = None,
  widths: str = '',
  aux: Sequence[str] = paper.HEADS,
  image_size: int | None = None,
  classes: int = paper.CLASSES,
) -> Audit:
  """Counts a network's parameters, multiply-adds and depth by Table 1's rows; computes nothing.

  Args:
    variant: an entry of `models.VARIANTS`.
    width: as all up to `aux`, a knob of `models.googlenet`.
    reduction: multiplier of both reductions.
    reduction_3x3: in place of `reduction` for the 3x3 branch.
    reduction_5x5: in place of `reduction` for the 5x5 branch.
    widths: widths of single modules.
    aux: modules that carry an auxiliary head in training.
    image_size: height and width of the input; None is 224, or 32 for `small`.
    classes: outputs of the classifier and of each head.

  Raises:
    UserError: names the argument and what it accepts.
  """
  shape: dict[str, Any] = {
    'width': width,
    'reduction': reduction,
    'reduction_3x3': reduction_3x3,
    'reduction_5x5': reduction_5x5,
    'widths': widths,
    'aux': tuple(aux),
  }
  model = googlenet(variant, classes=classes, **shape)
  if image_size is None:
    image_size = SMALL_IMAGE_SIZE if variant == 'small' else paper.IMAGE_SIZE
  measured, parameters, macs = measure(model, image_size)
  rows = notes.annotate(measured, _hypothesis())
  defaults = {'width': 1.0, 'reduction': 1.0, 'widths': '', 'aux': paper.HEADS}
  return Audit(
    variant=variant,
    image_size=image_size,
    classes=classes,
    knobs={name: value for name, value in shape.items() if value != defaults.get(name)},
    rows=rows,
    params=parameters.trunk,
    macs=macs.trunk,
    depth=sum(row.depth for row in rows),
    aux=tuple(Figures(name, parameters.heads[name], macs.heads[name]) for name in parameters.heads),
    training_params=parameters.total,
    examples=(reduction_example('5x5'), reduction_example('3x3')),
    remarks=notes.remarks(rows, model.architecture, image_size),
  )


def measure(model: GoogLeNet, image_size: int) -> tuple[tuple[Row, ...], costs.Split, costs.Split]:
  """Rows of Table 1 without notes, and parameters and multiply-adds of trunk and heads."""
  variables = costs.abstract_variables(model, image_size)
  by_module = costs.count_parameters(variables['params'])
  printed = {row.name: row for row in paper.ROWS}
  sources = {'softmax': 'classifier'}  # the logits are the last thing that the network makes
  if model.architecture.stem == 'small':
    del printed['pool1']
  names = [name for name in printed if name not in sources]
  found, outputs = trace.contractions(
    functools.partial(endpoints, model, names=names),
    variables,
    costs.abstract_images(image_size),
  )
  macs: dict[str, int] = {}
  for contraction in found:
    module = costs.module_path(contraction.scope)
    macs[module] = macs.get(module, 0) + contraction.macs

  rows: list[Row] = []
  size = image_size
  for name in printed:
    output = _extent(outputs[sources.get(name, name)].shape)
    mine = [counts for module, counts in by_module.items() if _row(module) == name]
    above = max((c.depth for c in found if _row(costs.module_path(c.scope)) == name), default=0)
    reached = sum(row.depth for row in rows)
    rows.append(
      Row(
        name=name,
        type=_type(model, name, size, output[0], variables['params']),
        output=output,
        depth=max(0, above - reached),
        widths=_widths(model, name),
        weights=sum(counts.weights for counts in mine),
        biases=sum(counts.biases for counts in mine),
        params=sum(counts.total for counts in mine),
        macs=sum(figure for module, figure in macs.items() if _row(module) == name),
        printed=printed[name],
      )
    )
    size = output[0]
  parameters = costs.split({name: counts.total for name, counts in by_module.items()})
  return tuple(rows), parameters, costs.split(macs)


def reduction_example(branch: str) -> ReductionExample:
  """The 3x3 or 5x5 branch of 3a as printed: with its reduction, and on the module's input."""
  rows = {row.name: row for row in paper.ROWS}
  source, widths = rows['pool2'].output, rows['inception_3a'].widths
  features, reduction = widths[f'conv{branch}'], widths[f'reduce_{branch}']
  assert features and reduction
  kernel = int(branch[0])
  images = jax.ShapeDtypeStruct((1, *source), jnp.float32)

  def count(*layers: nn.Module) -> int:
    found, _ = trace.contractions(nn.Sequential(layers).init, jax.random.key(0), images)
    return sum(contraction.macs for contraction in found)

  return ReductionExample(
    source=source,
    kernel=kernel,
    features=features,
    reduction=reduction,
    direct=count(ConvUnit(features, kernel)),
    reduced=count(ConvUnit(reduction, 1), ConvUnit(features, kernel)),
  )


@functools.cache
def _hypothesis() -> tuple[Row, ...]:
  """Rows of the network that the audit holds against cells which the printed one does not give."""
  rows, _, _ = measure(googlenet('separable'), paper.IMAGE_SIZE)
  return rows


def _row(module: str) -> str:
  name = module.partition('/')[0]
  return ROW_OF.get(name, name)


def _extent(shape: tuple[int, ...]) -> tuple[int, int, int]:
  """Height, width and channels of [n, h, w, c] or [n, c]."""
  return (shape[1], shape[2], shape[3]) if len(shape) == 4 else (1, 1, shape[1])


def _widths(model: GoogLeNet, name: str) -> dict[str, int | None]:
  architecture = model.architecture
  if name == 'conv2':
    return {'reduce_3x3': architecture.conv2_reduce, 'conv3x3': architecture.conv2}
  _, _, module = name.partition('inception_')
  return dataclasses.asdict(architecture.widths[module]) if module else {}


def _type(model: GoogLeNet, name: str, before: int, after: int, params: Any) -> str:
  """The column "type" with its "patch size/stride", from `before` to `after` pixels."""

  def kernel(module: str) -> str:
    size = params[module]['kernel'].shape[0]
    return f'{size}x{size}/{round(before / after)}'

  architecture = model.architecture
  if name == 'conv1' and architecture.stem == 'separable':
    return f'separable {kernel("conv1_depthwise")}'
  if name.startswith('conv'):
    return f'convolution {kernel(name)}'
  if name.startswith('pool'):
    window = dict(architecture.pools())[name]
    return f'max pool {window}x{window}/{round(before / after)}'
  if name.startswith('inception_'):
    size = params[name]['conv5x5']['kernel'].shape[0]
    return 'inception' if size == 5 else f'inception, {size}x{size} for 5x5'
  return {
    'avg_pool': f'avg pool {before}x{before}/1',
    'dropout': f'dropout ({architecture.dropout:.0%})',
    'classifier': 'linear',
    'softmax': 'softmax',
  }[name]
