"""What every source opens as."""

import dataclasses
from typing import Any, Protocol

# Channel statistics of ImageNet's training images on the scale 0 to 255, in common use since 2015
# (reported); for sources that bring none of their own.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

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
    name: of the split, for messages.
    records: random access to images and labels.
    classes: their names, in the order of the labels.
    mean: of the training images' channels, on the scale 0 to 255.
    std: likewise.
  """

  name: str
  records: Records
  classes: tuple[str, ...]
  mean: tuple[float, float, float] = IMAGENET_MEAN
  std: tuple[float, float, float] = IMAGENET_STD
