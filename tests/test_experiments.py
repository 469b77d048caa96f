"""Every experiment in the repository is a consistent config."""

import pathlib
import re
import runpy

import jax
import numpy as np
import pytest

from googlenet_jax.analysis import costs
from googlenet_jax.data.augment import from_config
from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, abstract_variables, build
from googlenet_jax.models.googlenet.variants import VARIANTS
from googlenet_jax.normalization import Normalization
from googlenet_jax.sweeps.study import Study
from googlenet_jax.training.config.flags import parse_config
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.config.schema import validate
from googlenet_jax.training.step.optimizer import frozen_modules, module_rates
from googlenet_jax.training.step.state import abstract_state
from googlenet_jax.weights.bundle import Bundle, Preprocessing, save

FOLDER = pathlib.Path(__file__).resolve().parents[1] / 'experiments'
ARGUMENTS = {
  'alexnet': ('', 'digits'),
  'auxiliary': ('', 'googlenet'),
  'bn_inception': ('', 'digits'),
  'cifar10': ('', 'subset', 'uva', 'kuangliu'),
  'cnds': ('', 'digits'),
  'collapse': ('', 'small_start'),
  'digits': ('', 'study'),
  'dsn': ('', 'digits'),
  'imagenet': ('', 'bvlc', 'bn'),
  'inception': ('', 'digits'),
  'nin': ('', 'cifar', 'digits'),
  'resnet': ('', 'cifar10', 'digits'),
  'family': ('', 'cifar10'),
  'vgg': ('', 'cifar10', 'digits'),
  'zfnet': ('', 'digits'),
}
EXPERIMENTS = [
  (file.stem, argument)
  for file in sorted(FOLDER.glob('*.py'))
  if file.stem != 'finetune'  # its argument is a file
  for argument in ARGUMENTS.get(file.stem, ('',))
]


@pytest.mark.parametrize(('name', 'argument'), EXPERIMENTS)
def test_an_experiment_builds_its_network(name, argument):
  config = parse_config([f'--config={FOLDER / name}.py:{argument}'.rstrip(':')])
  validate(config)
  from_config(config.data.augment)
  model = build_model(config.model, 10)
  state = abstract_state(model, config)
  assert (state.ema is None) == (config.ema.kind == 'none')


@pytest.mark.parametrize('name', sorted({name for name, _ in EXPERIMENTS}))
def test_an_experiment_refuses_an_argument_it_does_not_know(name):
  with pytest.raises(UserError, match=r"argument 'nonsense'") as error:
    parse_config([f'--config={FOLDER / name}.py:nonsense'])
  accepted = re.findall(r'\w+', str(error.value).partition('accepted: ')[2])
  assert set(accepted) - {'or', 'none'} == set(ARGUMENTS.get(name, ())) - {''}


def test_finetuning_takes_everything_from_its_weights(tmp_path):
  model = build_model(parse_config([f'--config={FOLDER / "digits.py"}']).model, 3)
  model = model.clone(architecture=VARIANTS['small'].architecture, aux=())
  shapes = jax.eval_shape(model.init, jax.random.key(0), jax.numpy.zeros((1, 32, 32, 3)))
  variables = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
  normalization = Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
  taken = Preprocessing(image_size=32, resize=40, normalization=normalization)
  path = tmp_path / 'a b.safetensors'
  save(Bundle(model, variables, taken, ('x', 'y', 'z'), 'a test'), path)
  config = parse_config([f'--config={FOLDER / "finetune.py"}:{path}'])
  validate(config)
  assert (config.model.variant, config.data.image_size, config.data.resize) == ('small', 32, 40)
  assert (config.data.mean, config.data.std) == (normalization.mean, normalization.std)
  assert config.init.weights == str(path)
  scratch = Study(tmp_path, [f'--config={FOLDER / "finetune.py"}:{path}'], 'scratch')
  begins = [scratch.config_of(member).init.weights for member in scratch.members]
  assert set(begins) == {'', str(path)} and begins.count(str(path)) == 3
  for argument, message in (
    ('', 'finetune.py: argument missing'),
    (':nowhere', 'finetune.py:nowhere: nowhere: no such file'),
  ):
    with pytest.raises(UserError, match=message):
      parse_config([f'--config={FOLDER / "finetune.py"}{argument}'])


@pytest.mark.parametrize('family', FAMILIES)
def test_finetuning_freezes_the_stem_of_every_family_and_nothing_else(family):
  text = runpy.run_path(str(FOLDER / 'finetune.py'))['RATES'][family]
  model = build(family)
  modules = abstract_variables(model, 224)['params']
  frozen = frozen_modules(module_rates(text, modules))
  assert FAMILIES[family].first_convolution(model.architecture) in frozen
  stems = r'conv\d(_reduce|_depthwise)?|conv1_1'
  assert all(re.fullmatch(stems, name) for name in frozen)


@pytest.mark.long
def test_the_family_is_compared_at_matched_multiply_adds():
  study = Study(FOLDER, [f'--config={FOLDER / "family.py"}'], 'family_matched_macs')
  wanted = runpy.run_path(str(FOLDER / 'family.py'))['MATCHED_MACS']
  configs = [study.config_of(m) for m in study.members if m.overrides['seed'] == 0]
  assert {config.model.family for config in configs} == set(FAMILIES)
  for config in configs:
    macs = costs.macs(build_model(config.model, 10), config.data.image_size).trunk
    assert macs == pytest.approx(wanted, rel=0.03), config.model.family
