"""Table 3 of the paper (networks x crops), with measured figures next to the printed ones."""

import dataclasses
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.measures import errors
from googlenet_jax.evaluation.predictions import Predictions

CITATION = 'Szegedy et al., 1409.4842, Table 3: ILSVRC 2014 validation images'


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """A printed row, in percent; `to_base` is the difference from the base, None for the base."""

  models: int
  crops: int
  cost: int
  top5_error: float
  to_base: float | None


# The last difference is as printed, although the printed errors give -3.40.
PAPER: tuple[PaperRow, ...] = (
  PaperRow(1, 1, 1, 10.07, None),
  PaperRow(1, 10, 10, 9.15, -0.92),
  PaperRow(1, 144, 144, 7.89, -2.18),
  PaperRow(7, 1, 7, 8.09, -1.98),
  PaperRow(7, 10, 70, 7.62, -2.45),
  PaperRow(7, 144, 1008, 6.67, -3.45),
)
PAPER_MODELS = 7


def table3(predictions: Predictions) -> dict[str, Any]:
  """The table for the first network and for all networks, with every available number of crops.

  Returns:
    `images`, `data`, `networks` and `rows`. Each row has `paper` (the printed row, or None) and
    `measured`: `models`, `crops`, `cost` (crops times models), the figures of `errors`, and
    `top5_to_base`, the difference from one network with one crop (a fraction; None for the base
    itself or if there is none).

  Raises:
    UserError: no number of crops is available for every network.
  """
  counts = predictions.crop_counts()
  networks = predictions.networks()
  if not counts:
    raise UserError('--table3: the networks have no number of crops in common')
  groups = [networks[:1]] + ([networks] if len(networks) > 1 else [])
  rows: list[dict[str, Any]] = []
  for group in groups:
    for crops in counts:
      found = errors(predictions.ensemble(group, crops), predictions.labels)
      del found['images']
      cost = crops * len(group)
      measured = {'models': len(group), 'crops': crops, 'cost': cost, **found}
      rows.append({'paper': _paper_row(len(group), crops), 'measured': measured})
  base = rows[0]['measured']['top5_error'] if counts[0] == 1 else None
  for row in rows:
    own = row['measured']
    is_base = own['cost'] == 1
    own['top5_to_base'] = None if base is None or is_base else own['top5_error'] - base
  return {
    'data': predictions.data,
    'images': len(predictions.labels),
    'networks': list(networks),
    'citation': CITATION,
    'rows': rows,
  }


def _paper_row(models: int, crops: int) -> dict[str, Any] | None:
  """The printed row for one network, or for the paper's ensemble, whatever the size of ours."""
  printed = 1 if models == 1 else PAPER_MODELS
  for row in PAPER:
    if (row.models, row.crops) == (printed, crops):
      return dataclasses.asdict(row)
  return None
