"""From a file of weights in one format to one in another."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from googlenet_jax.errors import UserError
from googlenet_jax.models import VARIANTS, Architecture, without_heads
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights import caffe, npz, torchvision
from googlenet_jax.weights.bundle import Bundle
from googlenet_jax.weights.fold import fold_normalization as folded
from googlenet_jax.weights.tensors import flatten, readable


class Format(NamedTuple):
  """How a kind of file is told by its content, read and written."""

  suffix: str
  matches: Callable[[pathlib.Path], bool]
  read: Callable[[pathlib.Path], Bundle]
  write: Callable[[Bundle, pathlib.Path], None]


# In the order in which they are tried: the first that matches reads the file. The last has no mark
# of its own.
FORMATS = {
  'googlenet': Format('.safetensors', bundles.matches, bundles.load, bundles.save),
  'torchvision': Format('.safetensors', torchvision.matches, torchvision.read, torchvision.write),
  'npz': Format('.npz', npz.matches, npz.read, npz.write),
  'caffe': Format('.caffemodel', caffe.matches, caffe.read, caffe.write),
}


class Conversion(NamedTuple):
  """What was read, the format it was in and the one that was written."""

  bundle: Bundle
  source: str
  destination: str


def convert(
  source: pathlib.Path,
  destination: pathlib.Path,
  *,
  to: str | None = None,
  classes: pathlib.Path | None = None,
  fold_normalization: bool = False,
) -> Conversion:
  """Reads weights in any format, told by their content, and writes them in another.

  Args:
    source: a file of any of `FORMATS`.
    destination: the file to write; its suffix says in which format.
    to: a format that shares its suffix with another.
    classes: a text file of names, one line a class.
    fold_normalization: fold the preprocessing into the first convolution.

  Raises:
    UserError: names the file or flag and what is accepted; nothing is written then.
  """
  target = destination_format(destination, to)
  if destination.exists() and source.exists() and destination.samefile(source):
    raise UserError(f'{destination}: is the source; another file is accepted')
  bundle, found = read(source)
  if classes is not None:
    bundle = named(bundle, classes)
  if fold_normalization:
    bundle = folded(bundle)
  FORMATS[target].write(bundle, destination)
  return Conversion(bundle, found, target)


def read(path: pathlib.Path) -> tuple[Bundle, str]:
  """Reads weights in any format; returns them and the format's name.

  Raises:
    UserError: the file is of no format that is read, or not a whole network.
  """
  with readable(path):
    size = path.stat().st_size
  if not size:
    raise UserError(f'{path}: empty')
  for name, kind in FORMATS.items():
    if kind.matches(path):
      return kind.read(path), name
  raise UserError(f'{path}: of no format that is read; accepted: {", ".join(FORMATS)}')


def destination_format(path: pathlib.Path, to: str | None) -> str:
  """The format of a file to write, by its suffix or by name."""
  if to is not None and to not in FORMATS:
    raise UserError(f'--to={to}: accepted: {", ".join(FORMATS)}')
  suffixes = {kind.suffix for kind in FORMATS.values()}
  accepted = [
    name for name, kind in FORMATS.items() if kind.suffix == path.suffix and to in (None, name)
  ]
  if not accepted:
    wanted = [FORMATS[to].suffix] if to else sorted(suffixes)
    raise UserError(f'{path}: a name that ends in {" or ".join(wanted)} is accepted')
  return accepted[0]


def named(bundle: Bundle, path: pathlib.Path) -> Bundle:
  """Gives classes the names in a text file, one a line in order, as in synset_words.txt."""
  with readable(path):
    data = path.read_bytes() if path.stat().st_size <= bundles.MAX_NAMES else None
  if data is None:
    raise UserError(f'{path}: more than {bundles.MAX_NAMES:,} bytes; names of classes are accepted')
  try:
    lines = [line.strip() for line in data.decode('utf-8-sig').splitlines()]
  except UnicodeDecodeError as error:
    raise UserError(f'{path}: not a text in UTF-8') from error
  while lines and not lines[-1]:
    lines.pop()
  if len(lines) != bundle.model.classes or not all(lines):
    raise UserError(
      f'{path}: {sum(map(bool, lines))} names in {len(lines)} lines for the '
      f'{bundle.model.classes} classes of the network; one a line is accepted'
    )
  return dataclasses.replace(bundle, classes=tuple(lines))


def describe(bundle: Bundle) -> dict[str, Any]:
  """What a bundle holds, for people and programs."""
  tensors = flatten(bundle.variables)
  main = flatten(without_heads(bundle.variables))
  return {
    'variant': variant_of(bundle.model.architecture),
    'classes': bundle.model.classes,
    'heads': list(bundle.model.aux),
    'layers': sum(name.endswith('/kernel') for name in tensors),
    'tensors': len(tensors),
    'values': int(sum(value.size for value in tensors.values())),
    'values_without_heads': int(sum(value.size for value in main.values())),
    'preprocessing': dataclasses.asdict(bundle.preprocessing),
    'source': bundle.source,
  }


def variant_of(architecture: Architecture) -> str:
  """The entry of `VARIANTS` that an architecture is, but for its widths if the name says so."""
  widths = {name: getattr(architecture, name) for name in ('modules', *_WIDTHS)}
  for name, variant in VARIANTS.items():
    if variant == architecture:
      return name
  for name, variant in VARIANTS.items():
    head = dataclasses.replace(variant.head, conv=architecture.head.conv, fc=architecture.head.fc)
    if dataclasses.replace(variant, head=head, **widths) == architecture:
      return f'{name}, other widths'
  return 'of its own'


_WIDTHS = ('conv1', 'conv2_reduce', 'conv2')
