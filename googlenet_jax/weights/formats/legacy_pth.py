"""PyTorch's .pth files from before 1.6, read without PyTorch and without unpickling.

torchvision's weights from those years, including its GoogLeNet and VGG-16, are still published in
this format. A file is a sequence of five pickles (a magic number, the format's version, properties
of the machine, the state dict, the names of the storages), followed by each storage: its length in
eight bytes, and its numbers. Pickles are read as in `pth`; none is executed.
"""

import contextlib
import io
import pathlib
from collections.abc import Iterator

from googlenet_jax.errors import UserError
from googlenet_jax.weights.formats import pth
from googlenet_jax.weights.formats.contents import Contents, file_size

MAX_PICKLES = 2 * pth.MAX_PICKLE  # bytes of all five together
_VERSION = 1001
_COUNT = 8  # bytes before each storage


@contextlib.contextmanager
def open_legacy_pth(path: pathlib.Path) -> Iterator[Contents]:
  """The tensors of a state dict, by name.

  Raises:
    UserError: the file is damaged, or contains anything other than a state dict of tensors.
  """
  size = file_size(path)
  with path.open('rb') as file:
    start = io.BytesIO(file.read(MAX_PICKLES))
    with pth.refusals(path):
      _, version, machine = (pth.interpret(start) for _ in range(3))
      if version != _VERSION or not isinstance(machine, dict):
        raise pth.RefusedError(f'its version is another than {_VERSION}')
      if machine.get('little_endian') is not True:
        raise pth.RefusedError('it is of a big-endian machine')
      state = pth.state_dict(pth.interpret(start))
      keys = pth.interpret(start)
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or set(keys) != set(storages):
      raise UserError(f'{path}: damaged: its list of storages is not that of its tensors')
    places, at = {}, start.tell()
    for key in keys:
      places[key] = at + _COUNT
      at = places[key] + storages[key].size
    if at != size:
      raise UserError(f'{path}: damaged: {size:,} bytes instead of {at:,}')

    def read(storage: pth.Storage) -> bytes:
      file.seek(places[storage.key] - _COUNT)
      count = int.from_bytes(file.read(_COUNT), 'little')
      if storage != storages[storage.key] or count != storage.count:
        raise UserError(f'{path}: damaged: a storage of {count:,} numbers, not {storage.count:,}')
      return file.read(storage.size)

    yield Contents(
      layout='.pth of before PyTorch 1.6',
      shapes={name: tensor.shape for name, tensor in state.items()},
      read=lambda name: pth.values(str(path), name, state[name], read),
    )
