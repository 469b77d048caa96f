"""Studies of GoogLeNet that any experiment file can import by name.

Each generates overrides of `model.*` and `loss.*` for three seeds; some take the file's config. The
questions are those of the paper (section 4: reductions; section 5: auxiliary classifiers) and of
later papers (whether batch normalization makes the heads unnecessary).
"""

from collections.abc import Iterator

from ml_collections import ConfigDict

from googlenet_jax.analysis import costs
from googlenet_jax.data import augment
from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.grids import Point, chainit, product, repeat, sweep
from googlenet_jax.training.config.network import build_model

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)
_CLASSES = 10  # any number would do, since the classifier's share of the costs is small


def sweep_aux_weight() -> Iterator[Point]:
  """Weight of the heads' losses; the paper's is 0.3."""
  return repeat(sweep('loss.aux_weight', [0.0, 0.1, 0.3, 0.6, 1.0]))


def sweep_aux_placement() -> Iterator[Point]:
  """Places of the heads: none, one of the paper's two, both, or others."""
  places = [(), ('4a',), ('4d',), ('4a', '4d'), ('3b',), ('4b', '4e'), ('3a', '4a', '4d', '5a')]
  return repeat(sweep('model.aux', places))


def sweep_reduction() -> Iterator[Point]:
  """Scale of both 1x1 reductions in every module."""
  return repeat(sweep('model.reduction', SCALES))


def sweep_reduction_apart() -> Iterator[Point]:
  """Scale of the 3x3 branches' reductions or of the 5x5 branches', with the other unchanged."""
  narrower = [scale for scale in SCALES if scale != 1]  # the whole network, once
  grids = [sweep('model.reduction_3x3', SCALES), sweep('model.reduction_5x5', narrower)]
  return repeat(chainit(grids))


def sweep_matched_cost(config: ConfigDict) -> Iterator[Point]:
  """Wider networks with narrower reductions, and vice versa, at equal multiply-adds."""
  return repeat(
    {'model.reduction': scale, 'model.width': matched_width(config, scale)} for scale in SCALES
  )


def sweep_naive() -> Iterator[Point]:
  """Modules with reductions (Figure 2b), without them, and also without the projection (2a)."""
  none = 'reduce_3x3=none,reduce_5x5=none'
  return repeat(sweep('model.widths', ['', none, f'{none},pool_proj=none']))


def sweep_batch_norm() -> Iterator[Point]:
  """Batch normalization on and off, with and without the heads' losses."""
  grids = [sweep('model.batch_norm', [False, True]), sweep('loss.aux_weight', [0.0, 0.3])]
  return repeat(product(grids))


def sweep_lrn() -> Iterator[Point]:
  """Local response normalization in the stem on and off, without batch normalization."""
  grids = [sweep('model.lrn.enabled', [False, True]), sweep('model.batch_norm', [False])]
  return repeat(product(grids))


def sweep_ensemble(config: ConfigDict) -> Iterator[Point]:
  """The seven networks of section 7, which are evaluated as an ensemble.

  They start from the same weights and differ in the order and the sampling of the images; the last
  one is wider. The paper gives no details: here the smallest area of a random crop (or, for padded
  images, the padding) takes three values, and the wider network has 1.25 times the channels.
  """
  crop = augment.from_config(config.data.augment).crop
  samplings: dict[str, list[Point]] = {
    'area': sweep('data.augment.area', [(least, 1.0) for least in (0.08, 0.2, 0.35)]),
    'pad': sweep('data.augment.pad', [4, 3, 2]),
    'none': [{}],
  }
  for seed in range(7):
    wider = {'model.width': config.model.width * 1.25} if seed == 6 else {}
    yield {'seed': seed, 'init.seed': 0, **wider, **samplings[crop][seed % len(samplings[crop])]}


def matched_width(config: ConfigDict, reduction: float) -> float:
  """The width at which a network with scaled reductions costs as much as the config's, within 1%.

  Each new guess assumes that multiply-adds grow with the square of the width.

  Raises:
    UserError: no such width was found.
  """
  size = config.data.image_size

  def macs(**changes: float) -> int:
    model = config.model.copy_and_resolve_references()
    model.update(changes)
    return costs.macs(build_model(model, _CLASSES), size).trunk

  wanted, width = macs(), config.model.width
  for _ in range(8):
    found = macs(width=width, reduction=reduction)
    if abs(found / wanted - 1) <= 0.01:
      return width
    width = round(width * (wanted / found) ** 0.5, 4)
  raise UserError(f'model.reduction={reduction}: no width has the costs of the config within 1%')
