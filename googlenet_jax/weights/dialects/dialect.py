"""The naming and layout of a network's tensors in a kind of file.

A dialect belongs to a family and a source of files: `plain` (our names and layout,
`inception_3a/reduce_3x3/kernel`), `uva`, `caffe`, `torchvision` or `timm`. The last three store
kernels as [out, in, rows, columns], and their linear layers take flattened maps with the channels
before rows and columns.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import CLASSIFIER, FAMILIES, PREFIX, Network
from googlenet_jax.weights import tensors
from googlenet_jax.weights.bundle import MAX_CLASSES

COUNTER = '.num_batches_tracked'
"""The suffix of integers next to torchvision's batch statistics, which inference never reads."""


def _nothing_more(dialect: 'Dialect', model: Network, where: str) -> None:
  """Accepts all networks of the family for writing."""


@dataclasses.dataclass(frozen=True)
class Dialect:
  """The names of tensors in a kind of file, and assumptions for what these files do not state.

  Attributes:
    family: the family of networks.
    source: `plain`, `uva`, `caffe`, `torchvision` or `timm`.
    rename: (our name of a tensor, such as `params/conv1/kernel`, architecture) -> the file's name.
    heads: the prefix of the names of a head's tensors, by the head's place.
    speaks: (names) -> whether a file with these names is of this kind; None to look for the name of
      the first convolution or of the classifier, unless another dialect's `speaks` accepts them.
    variant: the variant of networks in these files, or (shapes) -> the variant; None for any.
    preprocessing: the preprocessing of networks in these files, a name in `bundle.PUBLISHED`; None
      for any.
    classes: names of the classes of networks in these files; () for any.
    resized: (dialect, model, shapes) -> the model with the widths that follow from a file's shapes;
      None if the family's widths do not follow from shapes.
    deepened: whether `resized` also finds depths, from names, and therefore has to come first.
    map_channels: (model, our name) -> channels of the map that is flattened for a linear layer; 0
      for other layers.
    map_side: side of that map in pixels if networks in these files average maps of all sizes to it;
      None if they use maps of any size.
    windows: (our name) -> side of the kernel if our linear layer is a convolution in these files; 0
      if it is linear there too.
    spare_biases: (architecture) -> names of biases before batch normalization, which only these
      files have, by our names for the running means from which they are subtracted.
    check_writable: (dialect, model, where) -> None; raises UserError for a network that these files
      cannot describe.
  """

  family: str
  source: str
  rename: Callable[[str, Any], str]
  heads: Mapping[str, str]
  speaks: Callable[[Collection[str]], bool] | None = None
  variant: str | Callable[[tensors.Shapes], str] | None = None
  preprocessing: str | None = None
  classes: tuple[str, ...] = ()
  resized: Callable[['Dialect', Network, tensors.Shapes], Network] | None = None
  deepened: bool = False
  map_channels: Callable[[Network, str], int] = lambda model, name: 0
  map_side: int | None = None
  windows: Callable[[str], int] = lambda name: 0
  spare_biases: Callable[[Any], Mapping[str, str]] = lambda architecture: {}
  check_writable: Callable[['Dialect', Network, str], None] = _nothing_more

  @property
  def transposed(self) -> bool:
    """Whether kernels are [out, in, rows, columns]."""
    return self.source not in ('plain', 'uva')

  def variant_of(self, shapes: tensors.Shapes) -> str | None:
    """The variant assumed for a file with tensors of these shapes; None for any."""
    return self.variant(shapes) if callable(self.variant) else self.variant


def plain(
  family: str, resized: Callable[[Dialect, Network, tensors.Shapes], Network] | None = None
) -> Dialect:
  """The dialect with our own names for a family."""
  places = {
    place
    for variant in FAMILIES[family].variants.values()
    for place in FAMILIES[family].places(variant.architecture)
  }
  heads = {place: f'{PREFIX}{place}/' for place in places}
  return Dialect(
    family, 'plain', lambda name, architecture: name.partition('/')[2], heads, resized=resized
  )


def expected(dialect: Dialect, model: Network, image_size: int) -> tensors.Shapes:
  """The shapes of a network's tensors, by the dialect's names."""
  arch = model.architecture
  ours = tensors.expected_shapes(model, image_size)
  theirs = {
    dialect.rename(name, arch): _outward_shape(dialect, name, shape) for name, shape in ours.items()
  }
  return theirs | {bias: ours[mean] for mean, bias in dialect.spare_biases(arch).items()}


def _outward_shape(dialect: Dialect, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  if not dialect.transposed or len(shape) < 2:
    return shape
  if len(shape) == 4:
    return (*shape[:1:-1], *shape[:2])
  inputs, outputs = shape
  side = dialect.windows(name)
  return (outputs, inputs // side**2, side, side) if side else (outputs, inputs)


def outward(dialect: Dialect, model: Network, name: str, array: np.ndarray) -> np.ndarray:
  """Converts one of the network's arrays, given by our name, to the dialect's layout."""
  if not dialect.transposed or array.ndim < 2:
    return array
  shape = _outward_shape(dialect, name, array.shape)
  if array.ndim == 4:
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
  if channels := dialect.map_channels(model, name):
    pixels = array.reshape(-1, channels, array.shape[-1])  # rows and columns as one axis
    array = pixels.transpose(1, 0, 2).reshape(array.shape)
  return np.ascontiguousarray(array.T).reshape(shape)


def inward(dialect: Dialect, model: Network, name: str, array: np.ndarray) -> np.ndarray:
  """The inverse of `outward`."""
  if not dialect.transposed or array.ndim < 2:
    return array
  if array.ndim == 4 and not dialect.windows(name):
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
  array = array.reshape(len(array), -1).T
  if channels := dialect.map_channels(model, name):
    pixels = array.reshape(channels, -1, array.shape[-1])
    array = pixels.transpose(1, 0, 2).reshape(array.shape)
  return np.ascontiguousarray(array)


def identify(
  where: str, dialect: Dialect, shapes: tensors.Shapes, variant: str, image_size: int
) -> Network:
  """The network that a file's tensors are for: a variant with the file's widths, classes and heads.

  Raises:
    UserError: tensors are missing, unexpected or of another shape; lists all, by the file's names.
  """
  family = FAMILIES[dialect.family]
  architecture = family.variants[variant].architecture
  bias = shapes.get(dialect.rename(f'params/{CLASSIFIER}/bias', architecture), ())
  classes = bias[0] if len(bias) == 1 and 1 <= bias[0] <= MAX_CLASSES else 1000
  aux = tuple(
    place
    for place in family.places(architecture)
    if place in dialect.heads and any(name.startswith(dialect.heads[place]) for name in shapes)
  )
  model = family.network(architecture=architecture, classes=classes, aux=aux)
  if dialect.resized and dialect.deepened:
    model = dialect.resized(dialect, model, shapes)
  published = expected(dialect, model, image_size)
  if dialect.resized and set(published) == set(shapes) and published != shapes:
    # Widths may differ from the published ones as long as the tensors fit together.
    other = dialect.resized(dialect, model, shapes)
    if expected(dialect, other, image_size) == shapes:
      return other
  tensors.check_shapes(where, shapes, published)
  return model


def check_maps(dialect: Dialect, model: Network, shapes: tensors.Shapes, where: str) -> None:
  """Raises UserError if the map for a linear layer does not have the size in the dialect's files.

  Args:
    dialect: the dialect of the files.
    model: the network.
    shapes: the shapes of its tensors, by our names.
    where: the file, for the message.
  """
  pixels = (dialect.map_side or 0) ** 2
  for name, shape in shapes.items():
    channels = dialect.map_channels(model, name)
    if pixels and channels and shape[0] != pixels * channels:
      unit = name.split('/')[1]
      accepted = f'{dialect.map_side}x{dialect.map_side} pixels, those of images of 224x224'
      raise refused(where, f'{unit} on a map of {shape[0] // channels} pixels', accepted)


def refused(where: str, what: str, accepted: object) -> UserError:
  """The error for a network that a dialect's files cannot describe."""
  return UserError(f'{where}: {what}; accepted there: {accepted}')
