"""A network with its weights, preprocessing and class names, and the file that holds all of it.

The file is a .safetensors: one tensor a variable, `params/conv1/kernel`, and under the metadata key
`googlenet_jax` a JSON text with everything else, the whole `Architecture` included.
"""

import dataclasses
import json
import math
import pathlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import MODULES, Architecture, GoogLeNet
from googlenet_jax.models.inception import Widths
from googlenet_jax.models.layers import KERNEL_INITIALIZERS
from googlenet_jax.models.variants import MAX_CHANNELS, check_image_size
from googlenet_jax.weights.metadata import from_json, to_json
from googlenet_jax.weights.tensors import (
  check_shapes,
  expected_shapes,
  flatten,
  open_safetensors,
  readable,
  unflatten,
  write_file,
)

FORMAT = 1
KEY = 'googlenet_jax'
MAX_IMAGE_SIZE = 4096
MAX_NAMES = 2**21
"""Bytes of all names of classes in a text file; a header holds them whatever JSON makes of them."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """From a decoded RGB uint8 image to what the network takes.

  The shorter side becomes `resize` pixels, then the center of `image_size` pixels is cut out.
  `mean` and `std` are on the scale 0 to 255 and always in the order of red, green and blue.
  """

  image_size: int = 224
  resize: int = 256
  channel_order: Literal['rgb', 'bgr'] = 'rgb'
  mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
  std: tuple[float, float, float] = (1.0, 1.0, 1.0)

  def __post_init__(self) -> None:
    if not 1 <= self.image_size <= self.resize <= MAX_IMAGE_SIZE:
      raise UserError(
        f'preprocessing: image_size={self.image_size}, resize={self.resize}: 1 <= image_size <= '
        f'resize <= {MAX_IMAGE_SIZE} is accepted'
      )
    if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
      raise UserError(
        f'preprocessing: mean={self.mean}, std={self.std}: finite numbers, and a std above 0, '
        'are accepted'
      )

  def normalize(self, images: jax.Array) -> jax.Array:
    """uint8[..., 3], RGB -> float32[..., 3] in the order of `channel_order`, (x - mean) / std."""
    mean, std = (jnp.asarray(values, jnp.float32) for values in (self.mean, self.std))
    normalized = (images.astype(jnp.float32) - mean) / std
    return normalized[..., ::-1] if self.channel_order == 'bgr' else normalized


@dataclasses.dataclass(frozen=True)
class Bundle:
  """A network with its weights: all that is needed to predict.

  `variables` are `{'params': ..., 'batch_stats': ...}` of float32 NumPy arrays, `batch_stats` empty
  without batch normalization; `model.aux` names the heads that they hold. `classes` are the
  outputs' names in order. `source` says in one line where the weights come from.
  """

  model: GoogLeNet
  variables: dict[str, Any]
  preprocessing: Preprocessing
  classes: tuple[str, ...]
  source: str

  def __post_init__(self) -> None:
    if len(self.classes) != self.model.classes:
      raise UserError(
        f'{len(self.classes)} class names for {self.model.classes} classes; one each is accepted'
      )


@dataclasses.dataclass(frozen=True)
class Header:
  """What a file says beside its tensors."""

  format: int
  architecture: Architecture
  aux: tuple[str, ...]
  preprocessing: Preprocessing
  classes: tuple[str, ...]
  source: str

  @property
  def model(self) -> GoogLeNet:
    """The network, computing in float32."""
    return GoogLeNet(self.architecture, len(self.classes), self.aux)


def header_text(bundle: Bundle) -> str:
  """The header of a bundle's file as JSON."""
  model = bundle.model
  header = Header(
    FORMAT, model.architecture, model.aux, bundle.preprocessing, bundle.classes, bundle.source
  )
  return json.dumps(to_json(header))


def checked_tensors(bundle: Bundle, path: pathlib.Path) -> dict[str, np.ndarray]:
  """The variables by name; raises UserError where they are not those of the model."""
  tensors = flatten(bundle.variables)
  expected = expected_shapes(bundle.model, bundle.preprocessing.image_size)
  check_shapes(path, {name: value.shape for name, value in tensors.items()}, expected)
  return tensors


def save(bundle: Bundle, path: pathlib.Path) -> None:
  """Writes a .safetensors file, whole or not at all; equal bundles give equal bytes.

  Raises:
    UserError: the variables are not those of the model, or the file cannot be written.
  """
  import safetensors.numpy

  tensors = checked_tensors(bundle, path)
  write_file(path, safetensors.numpy.save(tensors, {KEY: header_text(bundle)}))


def matches(path: pathlib.Path) -> bool:
  """Whether a file is a .safetensors with our metadata."""
  with readable(path), path.open('rb') as file:
    if file.read(9)[8:] != b'{':
      return False
  with open_safetensors(path) as file:
    return KEY in (file.metadata() or {})


def load(path: pathlib.Path) -> Bundle:
  """Reads a file that `save` has written; shapes are compared with the model's before any tensor.

  Raises:
    UserError: it is damaged or another file, or names every tensor that is missing, not of the
      network or of another shape.
  """
  with open_safetensors(path) as file:
    header = read_header(path, (file.metadata() or {}).get(KEY))
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    found = {name: tuple(part.get_shape()) for name, part in slices.items()}
    check_shapes(path, found, expected_shapes(header.model, header.preprocessing.image_size))
    for name, part in slices.items():
      if part.get_dtype() != 'F32':
        raise UserError(f'{path}: {name} is of type {part.get_dtype()}; F32 is accepted')
    variables = unflatten({name: file.get_tensor(name) for name in slices})
  return Bundle(header.model, variables, header.preprocessing, header.classes, header.source)


def read_header(path: pathlib.Path, text: str | None) -> Header:
  """Reads and validates the header of a file; raises UserError where it is none of ours."""
  if text is None:
    raise UserError(f'{path}: no weights of googlenet_jax; `googlenet convert` reads other formats')
  try:
    value = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise UserError(f'{path}: its metadata are no JSON') from error
  if isinstance(value, dict) and value.get('format') != FORMAT:
    raise UserError(f'{path}: format {value.get("format")!r}; format {FORMAT} is accepted')
  try:
    header: Header = from_json(Header, value, 'metadata')
    check_architecture(header.architecture)
    size = header.preprocessing.image_size
    check_image_size(header.architecture, size, size)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error
  if not 1 <= len(header.classes) <= MAX_CHANNELS:
    raise UserError(f'{path}: {len(header.classes)} classes; 1 to {MAX_CHANNELS} are accepted')
  if list(header.aux) != sorted(set(header.aux) & set(MODULES)):
    raise UserError(f'{path}: aux={list(header.aux)}: some of {", ".join(MODULES)} are accepted')
  return header


def check_architecture(architecture: Architecture) -> None:
  """Raises UserError where a network could not be built, or not within reason."""
  head = architecture.head
  widths = {name: getattr(architecture, name) for name in ('conv1', 'conv2_reduce', 'conv2')} | {
    'head.conv': head.conv,
    'head.fc': head.fc,
  }
  if len(architecture.modules) != len(MODULES):
    raise UserError(f'{len(architecture.modules)} modules; {len(MODULES)} are accepted')
  for module, branches in architecture.widths.items():
    for field in dataclasses.fields(Widths):
      value = getattr(branches, field.name)
      if value is not None:
        widths[f'{module}.{field.name}'] = value
  for name, value in widths.items():
    if not 1 <= value <= MAX_CHANNELS:
      raise UserError(f'{name}={value}: 1 to {MAX_CHANNELS:,} channels are accepted')
  for name in ('large_kernel', 'pool4_window'):
    if not 1 <= getattr(architecture, name) <= 7:
      raise UserError(f'{name}={getattr(architecture, name)}: 1 to 7 is accepted')
  if architecture.lrn and architecture.lrn.size > MAX_LRN:
    raise UserError(f'lrn.size={architecture.lrn.size}: at most {MAX_LRN} is accepted')
  for name, rate in {'dropout': architecture.dropout, 'head.dropout': head.dropout}.items():
    if not 0 <= rate < 1:
      raise UserError(f'{name}={rate}: a rate of at least 0 and below 1 is accepted')
  if architecture.kernel_init not in KERNEL_INITIALIZERS:
    raise UserError(f'kernel_init={architecture.kernel_init}: unknown')


MAX_LRN = 1023
"""The widest window of local response normalization that a file may ask for."""
