"""A network with its weights, preprocessing and class names, in one .safetensors file."""

import dataclasses
import json
import pathlib
import struct
from collections.abc import Iterable
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, Network, choose, family_of
from googlenet_jax.normalization import IMAGENET, Normalization
from googlenet_jax.weights import tensors
from googlenet_jax.weights.formats.contents import first_bytes, is_safetensors
from googlenet_jax.weights.metadata import rebuild, rebuild_architecture, upgraded

FORMAT = 2
"""The format of the metadata; files of format 1, which had only one family, are read as well."""
# A single key of the metadata contains everything: the library writes several keys in an order that
# changes from run to run, and equal weights should give equal files.
KEY = 'googlenet_jax'
MAX_HEADER = 4 * 2**20  # bytes; the names of 20,000 classes take a quarter of it
MAX_TENSORS = 10_000
_SPARE = 2**18  # bytes of the header reserved for the tensors' names and shapes
MAX_CLASSES = 2**20
MAX_IMAGE_SIZE = 2**11  # for larger images, the first map alone takes gigabytes
MAX_SOURCE = 1000  # characters


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """The steps from a decoded RGB uint8 image to the network's input.

  Attributes:
    image_size: height and width of the network's input, in pixels.
    resize: shorter side of the resized image before its center is cropped, in pixels.
    normalization: the normalization that the network was trained with.

  Raises:
    UserError: a size or standard deviation is out of range.
  """

  image_size: int = 224
  resize: int = 256
  normalization: Normalization = IMAGENET

  def __post_init__(self) -> None:
    if not 1 <= self.image_size <= self.resize <= MAX_IMAGE_SIZE:
      raise UserError(
        f'image_size={self.image_size}, resize={self.resize}: accepted: a resize of at least '
        f'image_size and at most {MAX_IMAGE_SIZE}'
      )
    if min(self.normalization.std) <= 0:
      raise UserError(f'std={self.normalization.std}: numbers above 0 are accepted')

  def described(self) -> dict[str, Any]:
    """The flat form for files and JSON: `DescribedPreprocessing` as a dictionary."""
    numbers = self.normalization
    return dataclasses.asdict(
      DescribedPreprocessing(
        self.image_size, self.resize, numbers.channel_order, numbers.mean, numbers.std
      )
    )


@dataclasses.dataclass(frozen=True)
class DescribedPreprocessing:
  """The fields of a `Preprocessing`, as named and ordered in files and JSON."""

  image_size: int
  resize: int
  channel_order: str
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

  def understood(self) -> Preprocessing:
    """The preprocessing that it describes, after checking its values."""
    numbers = Normalization(self.mean, self.std, self.channel_order)
    return Preprocessing(self.image_size, self.resize, numbers)


# The preprocessing of published networks, by who published it first. Caffe itself gives the mean in
# the order B, G, R. torchvision's `transform_input` turns its normalization into TF-slim's.
# CIFAR-10's statistics are over its 50,000 training images, as computed by the UvA tutorial.
CIFAR10 = Normalization(
  (0.49139968 * 255, 0.48215841 * 255, 0.44653091 * 255),
  (0.24703223 * 255, 0.24348513 * 255, 0.26158784 * 255),
)
PUBLISHED = {
  'imagenet': Preprocessing(),
  'caffe': Preprocessing(
    normalization=Normalization((123.0, 117.0, 104.0), (1.0, 1.0, 1.0), channel_order='bgr')
  ),
  'slim': Preprocessing(normalization=Normalization((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))),
  'cifar10': Preprocessing(32, 32, CIFAR10),
}


@dataclasses.dataclass(frozen=True)
class Bundle:
  """A network with its weights: everything that predictions need.

  `variables` is {'params': ..., 'batch_stats': ...} with NumPy float32 arrays; `batch_stats` is {}
  without batch normalization. `model.aux` names the heads included. `classes` are the names of the
  `model.classes` classes, in order. `source` is one line that says where the weights come from.
  """

  model: Network
  variables: dict[str, Any]
  preprocessing: Preprocessing
  classes: tuple[str, ...]
  source: str


def save(bundle: Bundle, path: pathlib.Path) -> None:
  """Writes a bundle, whole or not at all; equal bundles give equal files.

  Raises:
    UserError: tensors or class names do not fit the network, or the file cannot be written.
  """
  import safetensors.numpy

  expected = tensors.expected_shapes(bundle.model, bundle.preprocessing.image_size)
  tensors.check_shapes(str(path), tensors.shapes_of(bundle.variables), expected)
  arrays = tensors.flatten(bundle.variables)
  metadata = {KEY: describe(bundle, crc32=tensors.crc32(arrays))}
  tensors.write(path, safetensors.numpy.save(arrays, metadata))


def load(path: pathlib.Path) -> Bundle:
  """Reads a file written by `save`; shapes are checked before any tensor is read.

  Raises:
    UserError: the file cannot be read, has another format, is damaged, or does not have exactly the
      tensors of its network; lists those that differ.
  """
  import safetensors
  import safetensors.numpy

  header = read_header(path) if is_safetensors(first_bytes(path)) else None
  if header is None or not is_bundle(header.shapes, header.metadata.get(KEY)):
    raise UserError(f"{path}: not this package's weights; googlenet convert converts other files")
  found = understand(str(path), header.metadata[KEY])
  expected = tensors.expected_shapes(found.model, found.preprocessing.image_size)
  tensors.check_shapes(str(path), header.shapes, expected)
  other = sorted({kind for kind in header.types.values() if kind != 'F32'})
  if other:
    raise UserError(f'{path}: tensors of type {tensors.listed(other)}; accepted: F32')
  try:
    arrays = safetensors.numpy.load_file(path)
  except (safetensors.SafetensorError, OSError) as error:
    raise UserError(f'{path}: damaged: {error}') from error
  if found.crc32 != tensors.crc32(arrays):
    raise UserError(f'{path}: damaged: its values do not have the checksum that it names')
  variables = tensors.unflatten(arrays)
  return Bundle(found.model, variables, found.preprocessing, found.classes, found.source)


def is_bundle(names: Iterable[str], described: str | None) -> bool:
  """Whether a file of tensors was written by `save`, judging by its tensors' names."""
  return described is not None and any(name.startswith('params/') for name in names)


@dataclasses.dataclass(frozen=True)
class Description:
  """A file's description of its bundle: everything except the values."""

  model: Network
  preprocessing: Preprocessing
  classes: tuple[str, ...]
  source: str
  crc32: int | None


def describe(bundle: Bundle, crc32: int | None = None) -> str:
  """A bundle without its values as JSON, for a file's metadata.

  Raises:
    UserError: the numbers of class names and classes differ.
  """
  if len(bundle.classes) != bundle.model.classes:
    raise UserError(
      f'{len(bundle.classes)} class names; accepted: {bundle.model.classes}, one for each class'
    )
  described = {
    'format': FORMAT,
    'family': family_of(bundle.model).name,
    'architecture': dataclasses.asdict(bundle.model.architecture),
    'aux': bundle.model.aux,
    'preprocessing': bundle.preprocessing.described(),
    'classes': bundle.classes,
    'source': ' '.join(bundle.source.split())[:MAX_SOURCE],
    'crc32': crc32,
  }
  text = json.dumps(described, ensure_ascii=False)
  if (size := len(json.dumps(text).encode())) > MAX_HEADER - _SPARE:
    raise UserError(f'class names of {size:,} bytes; at most {MAX_HEADER - _SPARE:,} are accepted')
  return text


def understand(where: str, text: str) -> Description:
  """Parses the result of `describe`, checking each field.

  Raises:
    UserError: the text is not JSON, or a field is missing or has an invalid value.
  """
  try:
    described = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise UserError(f'{where}: {KEY!r} in its metadata is not JSON') from error
  try:
    return _check(described)
  except UserError as error:
    raise UserError(f'{where}: {KEY!r} in its metadata: {error}') from error


def _check(described: Any) -> Description:
  version = described.get('format') if isinstance(described, dict) else None
  if version not in (1, FORMAT) or isinstance(version, bool):
    raise UserError(f'format={str(version)[:80]}: accepted: {FORMAT}')
  if version == 1:
    described = upgraded(described)
  names = ('family', 'architecture', 'aux', 'preprocessing', 'classes', 'source', 'crc32')
  absent = [name for name in names if name not in described]
  if absent:
    raise UserError(f'no {", ".join(absent)}')
  family = choose('family', rebuild(str, described['family'], 'family')[:80], FAMILIES)
  architecture = rebuild_architecture(family, described['architecture'])
  aux = rebuild(tuple[str, ...], described['aux'], 'aux')
  places = family.places(architecture)
  if list(aux) != [place for place in places if place in aux]:
    accepted = f'some of {", ".join(places)}, in order' if places else 'none'
    raise UserError(f'aux={str(aux)[:80]}: accepted: {accepted}')
  preprocessing = rebuild(DescribedPreprocessing, described['preprocessing'], 'preprocessing')
  classes = rebuild(tuple[str, ...], described['classes'], 'classes')
  if not 1 <= len(classes) <= MAX_CLASSES:
    raise UserError(f'{len(classes)} classes: accepted: 1 to {MAX_CLASSES}')
  return Description(
    model=family.network(architecture=architecture, classes=len(classes), aux=aux),
    preprocessing=preprocessing.understood(),
    classes=classes,
    source=rebuild(str, described['source'], 'source'),
    crc32=rebuild(int | None, described['crc32'], 'crc32'),
  )


@dataclasses.dataclass(frozen=True)
class Header:
  """The header of a .safetensors file: shape and type (`F32`) of each tensor, and metadata."""

  shapes: tensors.Shapes
  types: dict[str, str]
  metadata: dict[str, str]


def read_header(path: pathlib.Path) -> Header:
  """Reads only the header of a .safetensors file.

  Raises:
    UserError: the file does not exist or has another format, or its header is too large for any
      network.
  """
  try:
    with path.open('rb') as file:
      size = path.stat().st_size
      start = file.read(8)
      length = struct.unpack('<Q', start)[0] if len(start) == 8 else size
      if length > size - 8:
        raise UserError(f'{path}: truncated, or no .safetensors file')
      if length > MAX_HEADER:
        raise UserError(
          f'{path}: a header of {length:,} bytes; at most {MAX_HEADER:,} are accepted'
        )
      text = file.read(length)
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
  try:
    entries = json.loads(text)
    metadata = entries.pop('__metadata__', {})
    if len(entries) > MAX_TENSORS:
      raise UserError(f'{path}: more than the {MAX_TENSORS:,} tensors accepted')
    shapes, types, end = {}, {}, 8 + length
    for name, entry in entries.items():
      shapes[name] = rebuild(tuple[int, ...], entry['shape'], f'{path}: shape of {name[:80]}')
      types[name] = rebuild(str, entry['dtype'], f'{path}: dtype of {name[:80]}')
      end = max(end, 8 + length + entry['data_offsets'][1])
    metadata = {key: rebuild(str, value, f'{path}: {key[:80]}') for key, value in metadata.items()}
  except (ValueError, RecursionError, TypeError, KeyError, AttributeError, IndexError) as error:
    if isinstance(error, UserError):
      raise
    raise UserError(f'{path}: damaged, or no .safetensors file') from error
  if end != size:
    raise UserError(f'{path}: damaged: {size:,} bytes instead of {end:,}')
  return Header(shapes, types, metadata)
