"""Converts weights between kinds of files, recognizing the source's kind by its content."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, choose, family_of
from googlenet_jax.weights import dialects, tensors
from googlenet_jax.weights.bundle import (
  MAX_HEADER,
  PUBLISHED,
  Bundle,
  Description,
  describe,
  is_bundle,
  load,
  save,
  understand,
)
from googlenet_jax.weights.dialects import COUNTER, Dialect
from googlenet_jax.weights.fold import fold_normalization as fold
from googlenet_jax.weights.formats import (
  caffe,
  legacy_pth,
  msgpack_file,
  npz,
  pth,
  safetensors_file,
)
from googlenet_jax.weights.formats.archive import open_archive
from googlenet_jax.weights.formats.contents import (
  Contents,
  file_size,
  first_bytes,
  is_legacy_pth,
  is_safetensors,
)

TARGETS = ('.safetensors', '.npz', '.caffemodel')
NAMINGS = ('torchvision', 'timm')
"""The projects whose tensor names a .safetensors file can have instead of ours."""


@dataclasses.dataclass(frozen=True)
class Conversion:
  """The result of a conversion: the bundle, the kind of file it came from and that file's naming.

  `notes` are lines about changes made when reading the file.
  """

  bundle: Bundle
  layout: str
  dialect: str
  notes: tuple[str, ...] = ()

  def figures(self) -> dict[str, Any]:
    """Counts and facts to print, as JSON values."""
    model = self.bundle.model
    arrays = tensors.flatten(self.bundle.variables)
    family = family_of(model)
    published = [
      name for name, v in family.variants.items() if v.architecture == model.architecture
    ]
    return {
      'layout': self.layout,
      'names': self.dialect,
      'family': family.name,
      'variant': published[0] if published else None,
      'layers': len({name.rpartition('/')[0] for name in arrays if name.endswith('/kernel')}),
      'tensors': len(arrays),
      'values': sum(array.size for array in arrays.values()),
      'heads': list(model.aux),
      'classes': model.classes,
      'named_classes': self.bundle.classes != _numbers(model.classes),
      'preprocessing': self.bundle.preprocessing.described(),
      'source': self.bundle.source,
      'notes': list(self.notes),
    }


def convert(
  source: pathlib.Path,
  destination: pathlib.Path,
  *,
  to: str | None = None,
  classes: pathlib.Path | None = None,
  family: str | None = None,
  variant: str | None = None,
  preprocessing: str | None = None,
  fold_normalization: bool = False,
) -> Conversion:
  """Reads weights of any known kind and writes them in the format of the destination's ending.

  Args:
    source: .caffemodel, .pth, .npz, .safetensors or Flax msgpack, whatever its name is.
    destination: .safetensors (with our names, or those of `to`), .npz or .caffemodel.
    to: `torchvision` or `timm`, or None.
    classes: a file with the names of the classes, one per line.
    family: the network's family, if the file does not determine it; by default googlenet.
    variant: the network's variant, if the file does not determine it.
    preprocessing: a name in `PUBLISHED`, if the file does not determine it.
    fold_normalization: whether to fold channel order and scaling into the first convolution.

  Raises:
    UserError: the source cannot be read or identified, the destination's format does not accept
      the network, or the destination cannot be written; then nothing is written.
  """
  check_destination(destination, to)
  conversion = read(
    source, classes=classes, family=family, variant=variant, preprocessing=preprocessing
  )
  return write(conversion, destination, to=to, fold_normalization=fold_normalization)


def check_destination(destination: pathlib.Path, to: str | None) -> None:
  """Raises UserError, before anything is read, if `write` does not support the file's ending."""
  suffix = destination.suffix.lower()
  if to not in (None, *NAMINGS):
    raise UserError(f'--to={to}: accepted: {", ".join(NAMINGS)}')
  if suffix not in TARGETS or (to and suffix != '.safetensors'):
    accepted = '.safetensors' if to else ', '.join(TARGETS)
    if suffix in ('.pth', '.pt'):  # PyTorch users would expect these
      accepted += '; --to=torchvision writes a state dict as .safetensors'
    raise UserError(f'{destination}: ending {suffix or "none"}; accepted: {accepted}')


def write(
  conversion: Conversion,
  destination: pathlib.Path,
  *,
  to: str | None = None,
  fold_normalization: bool = False,
) -> Conversion:
  """Writes the result of `read` and returns it as written; arguments are as in `convert`."""
  suffix = destination.suffix.lower()
  if fold_normalization:
    conversion = dataclasses.replace(conversion, bundle=fold(conversion.bundle))
  if to:
    write_foreign(conversion.bundle, destination, to, safetensors_file.write)
  elif suffix == '.caffemodel':
    write_foreign(conversion.bundle, destination, 'caffe', caffe.write)
  elif suffix == '.npz':
    write_foreign(conversion.bundle, destination, 'plain', npz.write)
  else:
    save(conversion.bundle, destination)
  return conversion


def read(
  source: pathlib.Path,
  *,
  classes: pathlib.Path | None = None,
  family: str | None = None,
  variant: str | None = None,
  preprocessing: str | None = None,
) -> Conversion:
  """Reads a bundle from a file of any known kind; arguments are as in `convert`."""
  given = {'family': family, 'variant': variant, 'preprocessing': preprocessing}
  told = {knob: value for knob, value in given.items() if value}
  of_family = choose('--family', told.get('family', next(iter(FAMILIES))), FAMILIES)
  families = [of_family] if 'family' in told else FAMILIES.values()  # the file may determine it
  variants = {name: v for one in families for name, v in one.variants.items()}
  tables: dict[str, Mapping[str, Any]] = {'variant': variants, 'preprocessing': PUBLISHED}
  for knob, table in tables.items():
    if knob in told:
      choose(f'--{knob}', told[knob], table)
  names = None if classes is None else read_classes(classes)
  with _opened(source) as contents:
    conversion = _assemble(source, contents, names, told)
  tensors.check_finite(str(source), tensors.flatten(conversion.bundle.variables))
  return conversion


def _opened(path: pathlib.Path) -> contextlib.AbstractContextManager[Contents]:
  """Opens a file in the format that its first bytes indicate."""
  if not os.path.exists(path):  # also False in a folder without permission
    raise UserError(f'{path}: no such file; googlenet download gets published weights')
  start = first_bytes(path)
  if is_safetensors(start):
    return safetensors_file.open_safetensors(path)
  if msgpack_file.is_msgpack(start):
    return msgpack_file.open_msgpack(path)
  if is_legacy_pth(start):
    return legacy_pth.open_legacy_pth(path)
  if start[:4] == b'PK\3\4':
    return pth.open_pth(path) if _holds_pickle(path) else npz.open_npz(path)
  return caffe.open_caffemodel(path)


def _holds_pickle(path: pathlib.Path) -> bool:
  with open_archive(path) as archive:
    return any(name.endswith('data.pkl') for name in archive.namelist())


def _assemble(
  path: pathlib.Path,
  contents: Contents,
  classes: tuple[str, ...] | None,
  told: dict[str, str],
) -> Conversion:
  """Reads a bundle; its network is identified and shapes are checked before tensors are read."""
  if contents.described is not None:
    for knob, value in told.items():
      raise UserError(f'--{knob}={value}: {path} itself says what its {knob} is')
  notes: tuple[str, ...] = ()
  if is_bundle(contents.shapes, contents.described):
    bundle, names = load(path), 'plain'
  else:
    shapes = {name: shape for name, shape in contents.shapes.items() if not name.endswith(COUNTER)}
    if contents.described is not None:
      found = understand(str(path), contents.described)
      dialect = dialects.recognize(str(path), shapes, family_of(found.model).name)
      expected = dialects.expected(dialect, found.model, found.preprocessing.image_size)
      tensors.check_shapes(str(path), shapes, expected)
    else:
      dialect = dialects.recognize(str(path), shapes, told.get('family'))
      found = _identify(path, dialect, shapes, told)
      if biases := len(dialect.spare_biases(found.model.architecture)):
        notes = (f'{biases} biases in front of batch normalization went into its running means',)
    variables = _variables(contents, dialect, found.model, found.preprocessing.image_size)
    bundle = Bundle(found.model, variables, found.preprocessing, found.classes, found.source)
    names = dialect.source
  if classes:
    if len(classes) != bundle.model.classes:
      raise UserError(f'{path}: {bundle.model.classes} classes; {len(classes)} names were given')
    bundle = dataclasses.replace(bundle, classes=classes)
  return Conversion(bundle, contents.layout, names, notes)


def _identify(
  path: pathlib.Path, dialect: Dialect, shapes: tensors.Shapes, told: dict[str, str]
) -> Description:
  """Identifies another project's file by its tensors' names and shapes and the user's arguments."""
  taken_for = {
    'variant': (dialect.variant_of(shapes), FAMILIES[dialect.family].variants),
    'preprocessing': (dialect.preprocessing, PUBLISHED),
  }
  found = {}
  for knob, (usual, table) in taken_for.items():
    value = told.get(knob, usual)
    if value is None:
      others = '|'.join(name for name in FAMILIES if name != dialect.family)
      hint = '' if 'family' in told else f' (--family={others} if it is not {dialect.family})'
      raise UserError(
        f'{path}: says nothing of its {knob}; accepted: --{knob}={"|".join(table)}{hint}'
      )
    choose(f'{path}: --{knob}', value, table)
    found[knob] = value
  taken = PUBLISHED[found['preprocessing']]
  size = FAMILIES[dialect.family].variants[found['variant']].image_size
  if size != taken.image_size:  # small images are not cropped, larger ones in the same proportion
    whole = size < taken.image_size
    resize = size if whole else round(size * taken.resize / taken.image_size)
    taken = dataclasses.replace(taken, image_size=size, resize=resize)
  model = dialects.identify(str(path), dialect, shapes, found['variant'], taken.image_size)
  known = len(dialect.classes) == model.classes
  classes = dialect.classes if known else _numbers(model.classes)
  return Description(model, taken, classes, f'{path.name} (names of {dialect.source})', None)


def _numbers(classes: int) -> tuple[str, ...]:
  """Names for classes without names: numbers from 0."""
  return tuple(str(index) for index in range(classes))


def _variables(contents: Contents, dialect: Dialect, model: Any, image_size: int) -> dict[str, Any]:
  arrays = {}
  biases = dialect.spare_biases(model.architecture)
  for name in tensors.expected_shapes(model, image_size):
    array = contents.read(dialect.rename(name, model.architecture)).astype(np.float32)
    arrays[name] = dialects.inward(dialect, model, name, array)
    if name in biases:  # x + b normalized with mean m equals x normalized with m - b
      arrays[name] = arrays[name] - contents.read(biases[name]).astype(np.float32)
  return tensors.unflatten(arrays)


def write_foreign(
  bundle: Bundle,
  path: pathlib.Path,
  source: str,
  write: Callable[[pathlib.Path, dict[str, np.ndarray], str], None],
) -> None:
  """Writes a bundle with another naming, and with our metadata so that it can be read back.

  Args:
    bundle: the network with its weights.
    path: the file.
    source: the naming: `plain`, `caffe`, `torchvision` or `timm`.
    write: writes arrays by name, and their description, to a file.

  Raises:
    UserError: the dialect cannot describe the network, or the file cannot be written.
  """
  dialect = dialects.dialect_of(bundle.model, source, str(path))
  dialect.check_writable(dialect, bundle.model, str(path))
  dialects.check_maps(dialect, bundle.model, tensors.shapes_of(bundle.variables), str(path))
  arrays, ours = {}, tensors.flatten(bundle.variables)
  for name, array in ours.items():
    theirs = dialect.rename(name, bundle.model.architecture)
    arrays[theirs] = dialects.outward(dialect, bundle.model, name, array)
  for mean, bias in dialect.spare_biases(bundle.model.architecture).items():
    arrays[bias] = np.zeros_like(ours[mean])
  if source in NAMINGS:
    counters = [name.removesuffix('.running_mean') for name in arrays if '.running_mean' in name]
    arrays |= {f'{name}{COUNTER}': np.zeros((), np.int64) for name in counters}
  write(path, arrays, describe(bundle))


def read_classes(path: pathlib.Path) -> tuple[str, ...]:
  """Reads the names of classes, one per line, as in Caffe's synset_words.txt."""
  if file_size(path) > MAX_HEADER:
    raise UserError(f'{path}: at most {MAX_HEADER:,} bytes of class names are accepted')
  try:
    lines = path.read_text('utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'{path}: class names, one a line in UTF-8, are accepted') from error
  while lines and not lines[-1].strip():
    lines.pop()
  empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
  if empty or not lines:
    raise UserError(f'{path}: no name on line {empty[0] if empty else 1}')
  return tuple(line.strip() for line in lines)
