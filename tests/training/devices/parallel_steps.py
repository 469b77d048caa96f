"""Steps under `jit` and `pmap` over virtual devices, for `test_parallelism.py` to compare.

python tests/training/devices/parallel_steps.py FOLDER batch_norm              # one process
python tests/training/devices/parallel_steps.py FOLDER variations              # likewise
python tests/training/devices/parallel_steps.py FOLDER PROCESS PROCESSES PORT  # one of several
"""

import contextlib
import pathlib
import sys
import zlib

import grouped_steps
import jax
import numpy as np
from short_networks import shortened

from googlenet_jax.data.augment import PRESETS
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.hyperparameters import hyperparameters
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.devices.device_data import device_batches
from googlenet_jax.training.devices.parallelism import parallel_by
from googlenet_jax.training.run.checkpoints import Checkpoints, restore_newest
from googlenet_jax.training.run.figures import run_evaluation
from googlenet_jax.training.step.state import abstract_state
from googlenet_jax.training.step.step import make_eval_step, make_train_step

DEVICES, BATCH, CLASSES, STEPS = 4, 16, 7, 3
KINDS = ('jit', 'pmap')

SMALL = {
  'model.variant': 'small',
  'model.width': 0.125,
  'model.kernels': 'cpu',
  'data.image_size': 16,
}
CASES = {
  'batch_norm': {**SMALL, 'model.aux': ('4a',), 'ema.kind': 'polyak'},
  'plain': {
    'model.variant': 'table1',
    'model.width': 0.125,
    'model.batch_norm': False,
    'model.aux': (),
    'data.image_size': 64,
    'optimizer.clip_norm': 1.0,
  },
  'accumulate': {
    **SMALL,
    'model.aux': (),
    'optimizer.accumulate': 2,
    'on_nonfinite': 'skip',
  },
}
VARIATIONS = ('plain', 'accumulate')
MODULES = {'batch_norm': ('4a',), 'plain': ('3a',), 'accumulate': ()}


def config_of(**changes):
  config = defaults()
  config.batch_size = BATCH
  with config.unlocked():
    config.update_from_flattened_dict(
      {'model.dropout': 0.0, 'model.aux_dropout': 0.0, 'schedule.name': 'constant', **changes}
    )
  return config


def batch(size, seed, count=BATCH):
  rng = np.random.default_rng(seed)
  return {
    'image': rng.integers(0, 256, (count, size, size, 3), np.uint8),
    'label': rng.integers(0, CLASSES, count).astype(np.int32),
  }


def initial_state(model, config, dtype):
  """The state before the first step, drawn by NumPy, because linen's takes long to compile."""
  abstract = abstract_state(model, config)

  def value(path, leaf):
    name = jax.tree_util.keystr(path)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    drawn = np.ones(leaf.shape) if "'scale'" in name or "'var'" in name else np.zeros(leaf.shape)
    if 'kernel' in name and 'opt_state' not in name:
      drawn = rng.normal(size=leaf.shape, scale=np.sqrt(2 / np.prod(leaf.shape[:-1])))
    return drawn.astype(dtype if leaf.dtype == np.float32 else leaf.dtype)

  return jax.tree_util.tree_map_with_path(value, abstract)


class Compilations:
  """Counts the programs that XLA is asked for, whether cached or not."""

  def __init__(self):
    self.count = 0
    jax.monitoring.register_event_duration_secs_listener(self._heard)

  def _heard(self, event, *_, **__):
    self.count += event == '/jax/core/compile/backend_compile_duration'


class Trainer:
  """A step of a config under `jit` or `pmap`, and its state."""

  def __init__(self, kind, modules, **changes):
    self.config = config_of(**changes)
    model = shortened(build_model(self.config.model, CLASSES), *modules)
    dtype = np.float64 if model.architecture.batch_norm else np.float32
    self.model = model.clone(dtype=dtype)
    self.parallel = parallel_by(kind)
    step = make_train_step(self.model, self.config, {}, self.parallel.axis_name)
    self._step = self.parallel.compile_train(step)
    normalization = Normalization((120.0,) * 3, (60.0,) * 3)
    numbers = hyperparameters(self.config, Durations(10), normalization)
    self.hyper = self.parallel.replicate(numbers)
    self.state = self.parallel.replicate(initial_state(self.model, self.config, dtype))

  def step(self, images):
    images = self.parallel.shard(images)
    with jax.transfer_guard('disallow'):
      self.state, metrics = self._step(self.state, images, self.hyper)
    return metrics

  def leaves(self, tree=None):
    """Leaves by path, including those of the optimizer."""
    tree = self.state if tree is None else tree
    found, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path): leaf for path, leaf in found}


def measure_batch_norm(folder):
  """A run with everything that `pmap` and `jit` do: steps, evaluation, checkpoints, device batches.

  Writes `batch_norm.npz` and `errors.txt`.
  """
  compilations = Compilations()
  found, trainers = steps_of('batch_norm', compilations)
  found |= evaluations(trainers)
  found |= checkpoints(trainers, compilations, folder)
  for kind in KINDS:
    found |= device_placement(kind)
  np.savez(folder / 'batch_norm.npz', **found)
  (folder / 'errors.txt').write_text('\n'.join(batch_errors()))


def measure_variations(folder):
  """Other steps, dropout, and batch statistics by group; writes `variations.npz`."""
  compilations = Compilations()
  found = {}
  for case in VARIATIONS:
    found |= steps_of(case, compilations)[0]
  found |= dropout_masks()
  found |= grouped_steps.measure()
  np.savez(folder / 'variations.npz', **found)


def steps_of(case, compilations):
  """Figures of the first steps of a case under each kind, and the trainers that made them."""
  found, trainers = {}, {}
  changes = CASES[case]
  for kind in KINDS:
    trainer = trainers[kind] = Trainer(kind, MODULES[case], **changes)
    name = f'{case}/{kind}'
    for step in range(STEPS):
      images = batch(changes['data.image_size'], step)
      if case == 'accumulate':
        images |= {'skipped': np.arange(BATCH, dtype=np.int32)}
        images |= {'stop': np.array([0, 1, 0, 2], np.int32)}
      before = compilations.count
      metrics = trainer.step(images)
      found[f'{name}/compilations/{step}'] = compilations.count - before
      for path, leaf in trainer.leaves().items():
        found[f'{name}/state/{step}/{path}'] = leaf
      for path, value in jax.device_get(metrics).items():
        found[f'{name}/metrics/{step}/{path}'] = value
    found[f'{name}/replicated'] = all(
      leaf.sharding == trainer.parallel.replicated
      and all(
        np.array_equal(shard.data, leaf.addressable_data(0)) for shard in leaf.addressable_shards
      )
      for leaf in jax.tree.leaves(trainer.state)
    )
  return found, trainers


def evaluations(trainers):
  found = {}
  for kind in KINDS:
    trainer = trainers[kind]
    step = make_eval_step(trainer.model, trainer.parallel.axis_name)
    compiled = trainer.parallel.compile_eval(step)
    images = batch(SMALL['data.image_size'], 9) | {'mask': np.arange(BATCH) < 11}
    # The same variables for both.
    variables = trainer.parallel.replicate(jax.device_get(trainers['jit'].state.variables()))
    sums = compiled(variables, trainer.parallel.shard(images), trainer.hyper)
    for path, value in trainer.leaves(sums).items():
      found[f'evaluation/{kind}/{path}'] = value
    whole = run_evaluation(compiled, variables, [trainer.parallel.shard(images)] * 2, trainer.hyper)
    found[f'evaluation/{kind}/images of two'] = whole['main']['images']
  return found


def checkpoints(trainers, compilations, folder):
  """Checkpoints saved by one kind, restored and continued by the other."""
  found = {}
  for saving, restoring in (KINDS, KINDS[::-1]):
    saved, trainer = trainers[saving], trainers[restoring]
    path = folder / f'saved by {saving}'
    with contextlib.closing(Checkpoints(path, keep=1, about={})) as keeper:
      keeper.save(STEPS, saved.state)
    for path_of, leaf in saved.leaves().items():
      found[f'checkpoint/{saving}/saved/{path_of}'] = leaf
    trainer.state = restore_newest(path, trainer.state, trainer.parallel.replicated)
    for path_of, leaf in trainer.leaves().items():
      found[f'checkpoint/{saving}/restored/{path_of}'] = leaf
    before = compilations.count
    images = batch(SMALL['data.image_size'], STEPS)
    trainer.step(images)
    old = trainer.state  # shares no memory with NumPy arrays, unlike the restored state
    trainer.step(images)
    found[f'checkpoint/{saving}/compilations'] = compilations.count - before
    found[f'donated/{restoring}'] = all(leaf.is_deleted() for leaf in jax.tree.leaves(old))
  return found


def dropout_masks():
  """Losses of a batch of four equal parts on four devices, and of one part on one device."""
  found = {}
  part = batch(SMALL['data.image_size'], 0, BATCH // DEVICES)
  equal = jax.tree.map(lambda x: np.concatenate([x] * DEVICES), part)
  # Plain biases: with batch statistics, the first device would depend on the others.
  changes = {**SMALL, 'model.batch_norm': False, 'model.aux': ()}
  for rate in (0.0, 0.5):
    trainer = Trainer('pmap', (), **changes, **{'model.dropout': rate})
    step = make_train_step(trainer.model, trainer.config, {}, 'data')
    alone = jax.jit(jax.vmap(step, in_axes=(None, 0, None), out_axes=None, axis_name='data'))
    first = alone(
      jax.device_get(trainer.state),
      jax.tree.map(lambda x: x[None], part),
      jax.device_get(trainer.hyper),
    )[1]
    found[f'dropout/{rate}/four'] = jax.device_get(trainer.step(equal)['loss'])
    found[f'dropout/{rate}/first'] = jax.device_get(first['loss'])
  return found


class Numbered:
  """Images of a single color; the label is the image's number."""

  def __len__(self):
    return 40

  def __getitem__(self, index):
    return {'image': np.full((8, 8, 3), index, np.uint8), 'label': index, 'name': str(index)}


def device_placement(kind):
  """Two batches drawn on the devices, this process's part, and whether their placement is right."""
  found = {}
  split = Split('numbered', Numbered(), tuple(str(i) for i in range(40)))
  parallel = parallel_by(kind)
  with contextlib.closing(
    device_batches(
      split,
      image_size=8,
      augmentation=PRESETS['none'],
      batch_size=BATCH,
      seed=0,
      start_step=0,
      threads=1,
      parallel=parallel,
    )
  ) as batches:
    for step in range(2):
      drawn = next(batches)
      like = parallel.shard(batch(8, 0, BATCH // jax.process_count()))
      for name in like:
        found[f'device/{kind}/{step}/{name}'] = np.asarray(drawn[name])
        found[f'device/{kind}/{step}/{name}/as shard'] = (
          drawn[name].shape == like[name].shape and drawn[name].sharding == like[name].sharding
        )
  return found


def measure_as(process, processes, port, folder):
  """One of several processes: trains with its part of the batches; writes `process N.npz`."""
  address = f'127.0.0.1:{port}'
  jax.distributed.initialize(
    address, processes, process, coordinator_bind_address=address, initialization_timeout=600
  )
  found = {}
  compilations = Compilations()
  trainer = Trainer('pmap', MODULES['batch_norm'], **CASES['batch_norm'])
  count = BATCH // processes
  own = slice(process * count, (process + 1) * count)
  for step in range(STEPS):
    images = jax.tree.map(lambda x: x[own], batch(SMALL['data.image_size'], step))
    wishes = np.full(jax.local_device_count(), process, np.int32)
    before = compilations.count
    metrics = trainer.step(images | {'stop': wishes})
    found[f'compilations/{step}'] = compilations.count - before
    for path, leaf in trainer.leaves().items():
      found[f'state/{step}/{path}'] = leaf
    for path, value in jax.device_get(metrics).items():
      found[f'metrics/{step}/{path}'] = value
  evaluated = batch(SMALL['data.image_size'], 9) | {'mask': np.arange(BATCH) < 11}
  step = trainer.parallel.compile_eval(make_eval_step(trainer.model, trainer.parallel.axis_name))
  images = trainer.parallel.shard(jax.tree.map(lambda x: x[own], evaluated))
  for path, value in trainer.leaves(step(trainer.state.variables(), images, trainer.hyper)).items():
    found[f'evaluation/{path}'] = value
  with contextlib.closing(Checkpoints(folder / 'checkpoints', keep=1, about={})) as keeper:
    keeper.save(STEPS, trainer.state)
  trainer.state = restore_newest(folder / 'checkpoints', trainer.state, trainer.parallel.replicated)
  for path, leaf in trainer.leaves().items():
    found[f'restored/{path}'] = leaf
  before = compilations.count
  trainer.step(
    jax.tree.map(lambda x: x[own], batch(SMALL['data.image_size'], STEPS)) | {'stop': wishes}
  )
  found['compilations/restored'] = compilations.count - before
  found |= device_placement('pmap')
  np.savez(folder / f'process {process}.npz', **found)


def batch_errors():
  for kind in KINDS:
    try:
      parallel_by(kind).check_batch('batch_size', 24, 4)
    except UserError as error:
      yield str(error)
  try:
    parallel_by('pmap').check_group(6, BATCH)
  except UserError as error:
    yield str(error)


PARTS = {'batch_norm': measure_batch_norm, 'variations': measure_variations}


if __name__ == '__main__':
  jax.config.update('jax_enable_x64', True)
  path, *peer = sys.argv[1:]
  if len(peer) == 1:
    PARTS[peer[0]](pathlib.Path(path))
  else:
    measure_as(*map(int, peer), pathlib.Path(path))
