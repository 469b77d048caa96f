"""What every source opens as."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from googlenet_jax.errors import UserError
from googlenet_jax.normalization import IMAGENET, Normalization

Record = dict[str, Any]
"""`image`: bytes of an image file or uint8[h, w, 3]; `label`: int; `name`: str."""


class Records(Protocol):
  """Random access to the records of a split; picklable."""

  def __len__(self) -> int:
    """How many there are."""

  def __getitem__(self, index: int) -> Record:
    """One of them."""


@dataclasses.dataclass(frozen=True)
class Split:
  """Images of one split, with what is known of them.

  Attributes:
    name: one line for messages.
    records: random access to images and labels.
    classes: names of the classes, in the order of the labels.
    normalization: statistics of the training images' channels; ImageNet's where a source has none.
  """

  name: str
  records: Records
  classes: tuple[str, ...]
  normalization: Normalization = IMAGENET


class UnknownSplitError(UserError):
  """A split that a source does not have.

  Attributes:
    accepted: names of the splits that it has.
  """

  def __init__(self, split: str, where: str, accepted: Sequence[str]) -> None:
    super().__init__(f'split {split!r} of {where}: accepted: {", ".join(accepted) or "none"}')
    self.accepted = tuple(accepted)
