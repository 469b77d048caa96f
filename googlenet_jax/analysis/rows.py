"""A row of Table 1 as computed, with the printed one beside it."""

import dataclasses

from googlenet_jax.analysis.paper import PrintedRow


@dataclasses.dataclass(frozen=True)
class Row:
  """What a row of Table 1 costs in a network, for one image; `printed` is the paper's row.

  `output` is height, width and channels. `depth` is the number of weighted layers on the longest
  path through the row. `widths` has the columns that the row fills, None for a layer left out.
  `weights` are the entries of kernels, `params` all parameters. `params_differ` and `macs_differ`
  mark cells that were compared and are not the printed figure; `note` explains them.
  """

  name: str
  type: str
  output: tuple[int, int, int]
  depth: int
  widths: dict[str, int | None]
  weights: int
  biases: int
  params: int
  macs: int
  printed: PrintedRow
  note: str = ''
  params_differ: bool = False
  macs_differ: bool = False
