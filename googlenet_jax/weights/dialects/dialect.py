"""How a kind of file names and lays out the tensors of a network.

A dialect belongs to a family and a source of files: `plain` (our names and layout,
`inception_3a/reduce_3x3/kernel`), `uva`, `caffe` or `torchvision`. The latter two keep kernels as
[out, in, rows, columns], and their linear layers see the channels of a flattened map before its
rows and columns.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, PREFIX, Network
from googlenet_jax.weights import tensors
from googlenet_jax.weights.bundle import MAX_CLASSES

COUNTER = '.num_batches_tracked'
"""Ends the names of integers beside torchvision's batch statistics that no inference reads."""


def _nothing_more(dialect: 'Dialect', model: Network, where: str) -> None:
  """Every network of the family can be written."""


@dataclasses.dataclass(frozen=True)
class Dialect:
  """Names of tensors by ours, and what a file of this kind is taken for where it does not say.

  Attributes:
    family: the family of networks.
    source: `plain`, `caffe`, `torchvision` or `uva`.
    rename: our name of a tensor (`params/conv1/kernel`) -> the file's.
    heads: what the names of a head's tensors begin with, by the head's place.
    variant: the variant that files of this kind are of; None where they are of any.
    preprocessing: what networks in files of this kind were trained with, a name of
      `bundle.PUBLISHED`; None where it may be any.
    classes: names of the classes that files of this kind are for; () where they may be any.
    resized: (dialect, model, shapes) -> the model with the widths that a file's shapes tell; None
      where the family's widths cannot be told from shapes.
    map_channels: (model, our name) -> channels of the map that a linear layer sees flattened; 0
      for layers that see none.
    check_writable: (dialect, model, where) -> None; raises UserError for a network that the files
      cannot describe.
  """

  family: str
  source: str
  rename: Callable[[str], str]
  heads: Mapping[str, str]
  variant: str | None = None
  preprocessing: str | None = None
  classes: tuple[str, ...] = ()
  resized: Callable[['Dialect', Network, tensors.Shapes], Network] | None = None
  map_channels: Callable[[Network, str], int] = lambda model, name: 0
  check_writable: Callable[['Dialect', Network, str], None] = _nothing_more

  @property
  def transposed(self) -> bool:
    """Whether kernels are [out, in, rows, columns]."""
    return self.source not in ('plain', 'uva')


def plain(
  family: str, resized: Callable[[Dialect, Network, tensors.Shapes], Network] | None = None
) -> Dialect:
  """The dialect of our own names for a family."""
  places = {
    place
    for variant in FAMILIES[family].variants.values()
    for place in FAMILIES[family].places(variant.architecture)
  }
  heads = {place: f'{PREFIX}{place}/' for place in places}
  return Dialect(family, 'plain', lambda name: name.partition('/')[2], heads, resized=resized)


def expected(dialect: Dialect, model: Network, image_size: int) -> tensors.Shapes:
  """Shapes of the network's tensors by the dialect's names."""
  ours = tensors.expected_shapes(model, image_size)
  return {dialect.rename(name): _outward_shape(dialect, shape) for name, shape in ours.items()}


def _outward_shape(dialect: Dialect, shape: tuple[int, ...]) -> tuple[int, ...]:
  if not dialect.transposed or len(shape) < 2:
    return shape
  return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]


def outward(dialect: Dialect, model: Network, name: str, array: np.ndarray) -> np.ndarray:
  """One of the network's arrays, by our name, in the dialect's layout."""
  if not dialect.transposed or array.ndim < 2:
    return array
  if array.ndim == 4:
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
  if channels := dialect.map_channels(model, name):
    pixels = array.reshape(-1, channels, array.shape[-1])  # rows and columns as one
    array = pixels.transpose(1, 0, 2).reshape(array.shape)
  return np.ascontiguousarray(array.T)


def inward(dialect: Dialect, model: Network, name: str, array: np.ndarray) -> np.ndarray:
  """The inverse of `outward`."""
  if not dialect.transposed or array.ndim < 2:
    return array
  if array.ndim == 4:
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
  array = array.T
  if channels := dialect.map_channels(model, name):
    pixels = array.reshape(channels, -1, array.shape[-1])
    array = pixels.transpose(1, 0, 2).reshape(array.shape)
  return np.ascontiguousarray(array)


def identify(
  where: str, dialect: Dialect, shapes: tensors.Shapes, variant: str, image_size: int
) -> Network:
  """The network whose tensors a file holds: a variant, with the file's widths, classes and heads.

  Raises:
    UserError: lists by the file's names every tensor that is missing, extra or of another shape.
  """
  family = FAMILIES[dialect.family]
  bias = shapes.get(dialect.rename('params/classifier/bias'), ())
  classes = bias[0] if len(bias) == 1 and 1 <= bias[0] <= MAX_CLASSES else 1000
  architecture = family.variants[variant].architecture
  aux = tuple(
    place
    for place in family.places(architecture)
    if place in dialect.heads and any(name.startswith(dialect.heads[place]) for name in shapes)
  )
  model = family.network(architecture=architecture, classes=classes, aux=aux)
  published = expected(dialect, model, image_size)
  if dialect.resized and set(published) == set(shapes) and published != shapes:
    # Of other widths than published, if its tensors fit together.
    other = dialect.resized(dialect, model, shapes)
    if expected(dialect, other, image_size) == shapes:
      return other
  tensors.check_shapes(where, shapes, published)
  return model


def refused(where: str, what: str, accepted: object) -> UserError:
  """The error for a network that a dialect's files cannot describe."""
  return UserError(f'{where}: {what}; accepted there: {accepted}')
