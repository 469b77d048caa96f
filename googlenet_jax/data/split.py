"""The type of every opened source: a split of images with labels."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from googlenet_jax.errors import UserError
from googlenet_jax.normalization import IMAGENET, Normalization

Record = dict[str, Any]
"""`image`: bytes of an image file or uint8[h, w, 3]; `label`: int; `name`: str."""

SPLITS = {'train': 'train', 'val': 'validation', 'validation': 'validation', 'test': 'test'}
"""The accepted names of splits in a manifest, a folder or an archive, each with its split."""


class Records(Protocol):
  """The records of a split, with random access; picklable."""

  def __len__(self) -> int:
    """Number of records."""

  def __getitem__(self, index: int) -> Record:
    """The record at an index."""


@dataclasses.dataclass(frozen=True)
class Split:
  """The images of one split, with what is known about them.

  Attributes:
    name: a one-line name for messages.
    records: random access to images and labels.
    classes: names of the classes, in the order of the labels.
    normalization: mean and standard deviation of the training images' channels; ImageNet's if the
      source does not have them.
  """

  name: str
  records: Records
  classes: tuple[str, ...]
  normalization: Normalization = IMAGENET


def counted(images: int, classes: int) -> Split:
  """A split that only has numbers of images and classes, for uses that read no images."""
  return Split(f'{images} images', _Counted(images), tuple(f'class {i}' for i in range(classes)))


@dataclasses.dataclass(frozen=True)
class _Counted:
  images: int

  def __len__(self) -> int:
    return self.images

  def __getitem__(self, index: int) -> Record:
    raise NotImplementedError('only the number of these images is known')


class UnknownSplitError(UserError):
  """A source does not have the requested split.

  Attributes:
    accepted: names of the source's splits.
  """

  def __init__(self, split: str, where: str, accepted: Sequence[str]) -> None:
    super().__init__(f'split {split!r} of {where}: accepted: {", ".join(accepted) or "none"}')
    self.accepted = tuple(accepted)
