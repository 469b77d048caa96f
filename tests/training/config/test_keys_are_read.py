"""No dead knobs: each config key is read where it should have an effect."""

import contextlib
import dataclasses

import jax
import pytest
from recorded import Reads
from short_runs import short

from googlenet_jax.models import FAMILIES, alexnet
from googlenet_jax.models.family import knob
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.workdir import WorkDirectory

# Configs that take different code paths: a key counts as read if one of them reads it. Keys
# outside the network are read alike for all families, so one is enough: one with a head.
WHOLE = 'cnds'
WAYS = (
  {'schedule.name': 'polynomial', 'data.augment.preset': 'paper'},
  {'schedule.name': 'staircase', 'data.augment.preset': 'small'},
)
# Networks that take half of the time to trace, or less.
NARROW = {
  'resnet': {'variant': 'resnet20'},
  'bn_inception': {'variant': 'small'},
  'inception': {'variant': 'small', 'skip': '5b,5c,5d,6b,6c,6d,6e,7b,7c'},
}
# Keys that are only read in other sections, or nowhere.
DEAD = ('decay', 'unread', 'evaluation.name', 'optimizer.size', 'data.unread', 'ema.factor')


@dataclasses.dataclass(frozen=True)
class WithAnotherKnob(alexnet.AlexNetKnobs):
  """The knobs of AlexNet, and one that its networks do not read."""

  gain: float = knob(1.0, 'read by nobody')


@pytest.fixture(scope='module')
def reads(tmp_path_factory, cache):
  """The keys that a run and experiments of every family have read."""
  reads = Reads()
  with pytest.MonkeyPatch.context() as monkeypatch:
    another = dataclasses.replace(alexnet.FAMILY, name='another', knobs=WithAnotherKnob)
    monkeypatch.setitem(FAMILIES, 'another', another)
    run = short(on_nonfinite='skip', duration='8 steps')
    with run.unlocked():
      run.update_from_flattened_dict(dict.fromkeys(DEAD, 0))
    # The knobs of a family become its defaults, which should not be watched.
    configs = {family: defaults(family) for family in FAMILIES}
    for config in configs.values():
      reads.watch(monkeypatch, config)
    loop.train(reads.recorded(run), WorkDirectory(tmp_path_factory.mktemp('run')), cache)
    for family, config in configs.items():
      config.update_from_flattened_dict({'batch_size': 8, 'data.image_size': 128})
      config.model.update(NARROW.get(family, {}))
      if 'lrn' in config.model:
        config.model.lrn.enabled = True
      assert open_experiment(reads.recorded(config), cache).hyper
    # Keys outside the network are also read in other places, and only checked for one family.
    unread = {
      family: {key for key in reads.unread(config) if key.startswith('model.')}
      for family, config in configs.items()
    }
    for way in WAYS:
      configs[WHOLE].update_from_flattened_dict(way)
      experiment = open_experiment(reads.recorded(configs[WHOLE]), cache)
      assert experiment.hyper
      with contextlib.closing(experiment.train_batches(0)) as batches:
        jax.block_until_ready(next(batches))
    return unread | {WHOLE: reads.unread(configs[WHOLE]), 'run': reads.unread(run)}


@pytest.mark.parametrize('family', FAMILIES)
def test_every_key_is_read(reads, family):
  assert reads[family] == set()


def test_a_key_that_nothing_reads_is_found(reads):
  assert reads['run'] == set(DEAD)
  assert reads['another'] == {'model.gain'}
