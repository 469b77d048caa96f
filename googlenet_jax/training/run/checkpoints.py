"""Checkpoints of the training state with Orbax: saved asynchronously, verified when restored.

`checkpoints/<step>/` contains the state and a manifest. The manifest contains the config, the
versions of the libraries that wrote the checkpoint, a checksum of itself, and the CRC-32 of every
leaf, which reveals bit flips that Orbax would silently restore.
"""

import contextlib
import errno
import json
import logging
import os
import pathlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from googlenet_jax.errors import UserError
from googlenet_jax.training.devices.distributed import any_process
from googlenet_jax.training.step.state import TrainState

_STATE, _MANIFEST = 'state', 'manifest'

logger = logging.getLogger('googlenet_jax')


class Checkpoints:
  """The `checkpoints` folder of a work directory, for the run that writes it."""

  def __init__(
    self, path: pathlib.Path, *, keep: int = 1, keep_best: int = 0, about: dict[str, Any]
  ) -> None:
    """Opens or creates the folder; what killed saves left behind is removed before the next save.

    Args:
      path: the folder.
      keep: number of newest checkpoints to keep.
      keep_best: number of checkpoints with the lowest top-1 error to keep in addition.
      about: JSON values to store in each manifest.
    """
    self._path = path.absolute()
    self._about = about
    self._errors = {step: _stored_error(self._path / str(step)) for step in steps(self._path)}
    policies = ocp.checkpoint_managers.preservation_policy
    kept: list[Any] = [policies.LatestN(keep)]
    if keep_best:
      kept.append(_LowestError(self._errors, keep_best))
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policies.AnyPreservationPolicy(kept),
      cleanup_tmp_directories=True,
      lightweight_initialize=True,
      # On a full disk, a thread that waits for the folder would delay the exit by minutes.
      async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
    )
    with self._writing('opened'):
      handlers = {_STATE: _whole_arrays(), _MANIFEST: ocp.JsonCheckpointHandler()}
      self._manager = ocp.CheckpointManager(self._path, options=options, item_handlers=handlers)

  def save(
    self,
    step: int,
    state: TrainState,
    top1_error: float | None = None,
    carried: dict[str, Any] | None = None,
  ) -> None:
    """Starts saving: copies the arrays and returns while they are being written to disk.

    Args:
      step: number of steps done.
      state: the state to save.
      top1_error: the error of an evaluation at this step, if there was one.
      carried: JSON values that belong to the state but are not arrays, for the manifest.

    Raises:
      UserError: this or the previous checkpoint could not be written; earlier ones are unaffected.
    """
    if step == self._manager.latest_step():
      return
    manifest = {
      **self._about,
      **(carried or {}),
      'step': step,
      'top1_error': top1_error,
      'leaves': _checksums(state),
    }
    arguments = ocp.args.Composite(
      **{_STATE: ocp.args.PyTreeSave(state), _MANIFEST: ocp.args.JsonSave(_sealed(manifest))}
    )
    self._errors[step] = top1_error
    with self._writing(f'{step} saved'):
      self._manager.wait_until_finished()
      self._manager.save(step, args=arguments)

  def manifest(self, step: int) -> dict[str, Any]:
    """The JSON values saved with the state of a step."""
    return _manifest(self._path / str(step))

  def judge(self, step: int, top1_error: float) -> None:
    """Sets the error of a checkpoint, if it exists, that was evaluated after it was saved."""
    if step in self._errors:
      self._errors[step] = top1_error

  def restore_newest(self, abstract: TrainState, sharding: jax.sharding.Sharding) -> Any:
    """The newest good checkpoint, or None if there are no checkpoints.

    Newer ones that are damaged are renamed to `<step>.damaged`, with a warning.

    Raises:
      UserError: there are checkpoints, but all are damaged, or the newest good one belongs to
        another network or optimizer.
    """
    self.wait()
    state = restore_newest(self._path, abstract, sharding, on_damage=_set_aside)
    self._manager.reload()
    for step in set(self._errors) - set(steps(self._path)):
      del self._errors[step]
    return state

  def wait(self) -> None:
    """Waits until everything is on disk.

    Raises:
      UserError: something could not be written.
    """
    with self._writing('written'):
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits until everything is on disk, then ends the writing threads."""
    try:
      self.wait()
    finally:
      with contextlib.suppress(Exception):  # `wait` has reported failed writes
        self._manager.close()

  @contextlib.contextmanager
  def _writing(self, what: str) -> Iterator[None]:
    """Turns disk errors into user errors that name the checkpoints that are left."""
    try:
      yield
    except (jax.errors.JaxRuntimeError, ValueError, OSError, RuntimeError) as error:
      there = ', '.join(map(str, steps(self._path))) or 'none'
      raise UserError(
        f'{self._path}: a checkpoint cannot be {what}: {_reason(error)}; good ones: {there}; '
        'fix this and run the same command again'
      ) from error


def _whole_arrays() -> ocp.PyTreeCheckpointHandler:
  """A handler that saves each array from a single replica.

  By default every device saves a slice, and slicing compiles a program for each shape. When a run
  is asked to stop, this would delay its last save by 3 s.
  """
  types = ocp.type_handlers
  registry = types.create_type_handler_registry(
    (jax.Array, types.ArrayHandler(use_replica_parallel=False))
  )
  return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


def steps(path: pathlib.Path) -> list[int]:
  """The steps with complete checkpoints, in order; a complete checkpoint can still be damaged."""
  if not path.is_dir():
    return []
  return sorted(int(entry.name) for entry in path.iterdir() if entry.name.isdecimal())


def restore_newest(
  path: pathlib.Path,
  abstract: TrainState,
  sharding: jax.sharding.Sharding,
  on_damage: Callable[[pathlib.Path, str], None] = lambda folder, reason: None,
) -> Any:
  """The newest good checkpoint, on the devices of `sharding`; None if there are no checkpoints.

  Args:
    path: the folder with the checkpoints.
    abstract: the state's shapes and dtypes, as returned by `jax.eval_shape`.
    sharding: where to put each array; the devices may differ from those that saved it.
    on_damage: called with the folder of each damaged checkpoint that is newer than a good one, and
      the reason. If no checkpoint is good, it is not called and all of them are kept, so that no
      run starts over unless the user removes them.

  Raises:
    UserError: there are checkpoints, but all are damaged; or the newest good one contains another
      network's state, or may not be read.
  """
  damaged: dict[pathlib.Path, str] = {}
  for step in reversed(steps(path)):
    folder = path / str(step)
    state, reason = None, ''
    try:
      state = _restore(folder, abstract, sharding)
    except _DamagedError as error:
      reason = str(error)
    if any_process(bool(reason)):
      damaged[folder] = reason or 'damaged in the copy that another process reads'
      logger.warning('%s: %s', folder, damaged[folder])
      continue
    for bad, why in damaged.items():
      logger.warning('%s: checkpoint %d is used instead', bad, step)
      if jax.process_index() == 0:
        on_damage(bad, why)
    any_process(False)  # waits until the damaged ones are renamed
    return state
  if damaged:
    found = '; '.join(f'{folder.name} ({reason})' for folder, reason in damaged.items())
    raise UserError(
      f'{path}: no checkpoint is good: {found}; put a good one there, or move the folder away to '
      'start over'
    )
  return None


class _DamagedError(Exception):
  """A checkpoint is not as it was saved."""


class _LowestError:
  """A preservation policy for Orbax that keeps the checkpoints with the lowest top-1 error."""

  def __init__(self, errors: dict[int, float | None], count: int) -> None:
    self._errors, self._count = errors, count

  def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
    del context
    known = [(e, s) for s, e in self._errors.items() if e is not None]
    best = {step for _, step in sorted(known)[: self._count]}
    return [info.step in best for info in checkpoints]


def _restore(folder: pathlib.Path, abstract: TrainState, sharding: jax.sharding.Sharding) -> Any:
  """The state in a checkpoint, whose leaves are found by name.

  The optimizer may have other transformations without arrays, such as clipping or weight decay.
  """
  _check_readable(folder)
  sums = _manifest(folder).get('leaves', {})
  leaves = {_without_place(name): leaf for name, leaf in sums.items()}
  wanted = {_without_place(name): _shape(leaf) for name, leaf in _named(abstract)}
  stored = {name: (tuple(leaf['shape']), leaf['dtype']) for name, leaf in leaves.items()}
  if wanted != stored:
    name = min(name for name in wanted | stored if wanted.get(name) != stored.get(name))
    raise UserError(
      f'{folder}: has the state of another network or optimizer: {name} is '
      f'{_text(stored.get(name))} there and {_text(wanted.get(name))} here'
    )
  path, handler = folder.absolute() / _STATE, ocp.PyTreeCheckpointHandler()
  try:
    with contextlib.closing(ocp.Checkpointer(handler)) as reader:
      tree = handler.metadata(path).tree
      placed = jax.tree.map(lambda _: ocp.ArrayRestoreArgs(sharding=sharding), tree)
      found = reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=placed))
    by_name = {_without_place(name): leaf for name, leaf in _named(found)}
    state = jax.tree.unflatten(jax.tree.structure(abstract), [by_name[name] for name in wanted])
  except jax.errors.JaxRuntimeError:
    raise  # an error on the devices, such as too little memory
  except Exception as error:  # Orbax and TensorStore define no class for it
    raise _DamagedError(f'cannot be read: {_reason(error)}') from error
  restored = _checksums(state).items()
  differing = [name for name, leaf in restored if leaf != leaves[_without_place(name)]]
  if differing:
    more = f' and {len(differing) - 1} more' if len(differing) > 1 else ''
    raise _DamagedError(f'wrong checksum of {differing[0]}{more}')
  return state


def _check_readable(folder: pathlib.Path) -> None:
  """Raises UserError if a file may not be read, so that it is not taken for damaged."""
  try:
    for file in folder.rglob('*'):
      if file.is_file():
        file.open('rb').close()
  except OSError as error:
    raise UserError(f'{error.filename}: cannot be read: {error.strerror}') from error


def _manifest(folder: pathlib.Path) -> dict[str, Any]:
  try:
    manifest = json.loads((folder / _MANIFEST / 'metadata').read_bytes())
    seal = manifest.pop('crc32')
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
    raise _DamagedError(f'its manifest cannot be read: {_reason(error)}') from error
  if _sealed(manifest)['crc32'] != seal:
    raise _DamagedError('wrong checksum of its manifest')
  return manifest


def _stored_error(folder: pathlib.Path) -> float | None:
  try:
    return _manifest(folder)['top1_error']
  except _DamagedError:
    return None


def _sealed(manifest: dict[str, Any]) -> dict[str, Any]:
  text = json.dumps(manifest, sort_keys=True)
  return {**manifest, 'crc32': zlib.crc32(text.encode())}


def _without_place(name: str) -> str:
  """The name of a leaf without the place of its transformation in the optimizer's chain."""
  return re.sub(r'^opt_state/\d+/', 'opt_state/', name)


def _named(state: Any) -> list[tuple[str, Any]]:
  leaves, _ = jax.tree.flatten_with_path(state)
  return [(jax.tree_util.keystr(path, simple=True, separator='/'), leaf) for path, leaf in leaves]


def _shape(leaf: Any) -> tuple[tuple[int, ...], str]:
  return tuple(leaf.shape), str(leaf.dtype)


def _text(shape: tuple[tuple[int, ...], str] | None) -> str:
  return f'{shape[1]}{list(shape[0])}' if shape else 'absent'


def _checksums(state: TrainState) -> dict[str, dict[str, Any]]:
  """CRC-32, shape and dtype of every leaf's copy in this process, by the leaf's path."""
  names, leaves = zip(*_named(state), strict=True)
  local = jax.device_get([leaf.addressable_data(0) for leaf in leaves])
  return {
    name: {
      'crc32': zlib.crc32(np.ravel(leaf).view(np.uint8).data),
      'shape': list(leaf.shape),
      'dtype': str(leaf.dtype),
    }
    for name, leaf in zip(names, local, strict=True)
  }


def _set_aside(folder: pathlib.Path, reason: str) -> None:
  """Renames a damaged checkpoint, so that it is not taken for a good one."""
  target = folder.with_name(f'{folder.name}.damaged')
  count = 1
  while target.exists():
    count += 1
    target = folder.with_name(f'{folder.name}.damaged-{count}')
  try:
    folder.rename(target)
  except OSError as error:
    raise UserError(f'{folder}: damaged ({reason}), and cannot be renamed: {error.strerror}') from (
      error
    )
  logger.warning('%s: renamed to %s', folder, target.name)


def _reason(error: BaseException) -> str:
  """The first line of an error's message, without the pages that TensorStore adds."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  full = os.strerror(errno.ENOSPC)
  if full in str(error):  # it comes somewhere after the names of folders
    return full
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  first = lines[0] if lines else type(error).__name__
  for added in (' [source locations', ' See full TensorStore details'):
    first = first.partition(added)[0]
  return first if len(first) <= 160 else f'{first[:160]}...'
