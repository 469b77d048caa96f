"""A study: an experiment's config, its grid of overrides, and the folder of its members."""

import dataclasses
import functools
import inspect
import json
import operator
import pathlib
import time
import traceback
from typing import Any

from ml_collections import ConfigDict

from googlenet_jax import files, runtime
from googlenet_jax.analysis import costs
from googlenet_jax.data import augment
from googlenet_jax.errors import UserError
from googlenet_jax.models import abstract_variables
from googlenet_jax.storage.urls import Place, Url
from googlenet_jax.sweeps import grids
from googlenet_jax.sweeps.members import Member, is_baseline, members, setting_name
from googlenet_jax.sweeps.staged import StagedStudy
from googlenet_jax.sweeps.status import FAILURES, Status, record_failure, status_of, try_again
from googlenet_jax.training.config.durations import in_steps
from googlenet_jax.training.config.experiment_file import ExperimentFile
from googlenet_jax.training.config.flags import parse
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.config.overrides import override
from googlenet_jax.training.config.schema import validate
from googlenet_jax.training.config.stored import changes, plain
from googlenet_jax.training.step.optimizer import module_rates

FORMAT = 1
RETRIES = 2  # how often a failed member is retried by default
SWEEP = 'sweep_'
HYPER = 'get_hyper'  # big_vision's name for the grid of a file that has only one


@dataclasses.dataclass(frozen=True)
class Costs:
  """The costs of a member's network and of its training.

  Attributes:
    parameters: parameters without auxiliary heads.
    training_parameters: parameters with auxiliary heads.
    macs: multiply-adds of the forward pass for one image, without heads.
    training_macs: multiply-adds of the forward pass for one image, with heads.
    steps: number of training steps.
    images: number of images seen in training.
  """

  parameters: int
  training_parameters: int
  macs: int
  training_macs: int
  steps: int
  images: int


class Study:
  """A sweep with its named, typed and validated members; creating it writes nothing."""

  def __init__(
    self,
    root: Place,
    arguments: list[str],
    sweep: str | None,
    cache_dir: pathlib.Path | None = None,
  ) -> None:
    """Reads an experiment file and one of its sweeps.

    Args:
      root: folder for studies, local or in a bucket; this study gets its own folder there.
      arguments: `--config=FILE[:ARGUMENT]` and overrides, as for `googlenet train`.
      sweep: name of the sweep; None if the file has only one.
      cache_dir: where a study in a bucket is staged; None for the default.

    Raises:
      UserError: an argument is invalid, the file cannot be read, it has no such sweep, the sweep
        fails or has no members, or the config of a member is invalid.
    """
    self.arguments = arguments
    self._file, self._overrides = parse(arguments)
    self.config = override(self._file.config, self._overrides)
    self.name, function = _sweep(self._file, sweep)
    self.staged: StagedStudy | None = None
    if isinstance(root, Url):
      self.staged = StagedStudy(root / self.name, cache_dir or runtime.cache_dir())
      self.path = self.staged.path
    else:
      self.path = root / self.name
    self.members = members(_points(function, self.config, self.name, self._file), self.config)
    for member in self.members:
      try:
        config = self.config_of(member)
        validate(config)
        build_model(config.model, 1)
        augment.from_config(config.data.augment)
      except UserError as error:
        raise UserError(f'sweep {self.name}, member {member.name}: {error}') from error

  def config_of(self, member: Member) -> ConfigDict:
    """The config with which a member's command trains."""
    return override(self._file.config, {**self._overrides, **member.overrides})

  def workdir(self, member: Member) -> pathlib.Path:
    """The work directory of one member; in a bucket, the local copy of its status."""
    return self.path / 'members' / member.name

  def status(self, member: Member, retries: int, at_once: bool = False) -> Status:
    """Reads the status of one member.

    Args:
      member: the member.
      retries: number of retries; a member with more failures counts as failed.
      at_once: whether to ask the bucket again even if it was asked a moment ago.
    """
    if self.staged:
      self.staged.refresh(member.name, at_once)
    return status_of(self.workdir(member), retries)

  def statuses(self, retries: int) -> dict[str, Status]:
    """Reads the status of all members, by name."""
    if self.staged:
      self.staged.refresh()
    return {member.name: status_of(self.workdir(member), retries) for member in self.members}

  def record_failure(self, member: Member, status: int, message: str) -> None:
    """Adds a line to a member's record of failures."""
    if self.staged:
      self.staged.refresh(member.name, at_once=True)
    record_failure(self.workdir(member), status, message)
    self.send(f'members/{member.name}/{FAILURES}')

  def try_again(self, member: Member) -> None:
    """Resets a failed member so that it runs again, from its newest checkpoint."""
    try_again(self.workdir(member))
    names = ('DONE', FAILURES, 'failures.before.jsonl')
    self.send(*(f'members/{member.name}/{name}' for name in names))

  def send(self, *names: str) -> None:
    """Copies files from the local folder to the bucket, if the study is in one."""
    if self.staged:
      self.staged.send(*names)

  @property
  def place(self) -> Place:
    """Where the study is: its absolute path or URL, valid from any working directory."""
    return self.staged.url if self.staged else self.path.absolute()

  def command(self, member: Member) -> list[str]:
    """The arguments of the `googlenet` command that trains one member."""
    workdir = self.place / 'members' / member.name
    return ['train', f'--workdir={workdir}', *self.arguments, *member.arguments]

  def costs(self, classes: int, examples: int) -> dict[str, Costs]:
    """The costs of each member, by its name.

    Args:
      classes: number of classes in the data.
      examples: number of images in the training split.
    """
    return {member.name: self._costs(member, classes, examples) for member in self.members}

  def _costs(self, member: Member, classes: int, examples: int) -> Costs:
    config = self.config_of(member)
    size = config.data.image_size
    try:
      steps = in_steps(config, examples).steps
      parameters, macs, modules = _network_costs(build_model(config.model, classes), size)
      module_rates(config.optimizer.rates, modules)
    except UserError as error:
      raise UserError(f'sweep {self.name}, member {member.name}: {error}') from error
    return Costs(
      parameters.trunk,
      parameters.total,
      macs.trunk,
      macs.total,
      steps,
      steps * config.batch_size,
    )

  def write(self, costs_of: dict[str, Costs], command: str, retries: int = RETRIES) -> None:
    """Writes `sweep.json`, which keeps members that were started but are no longer in the grid.

    Raises:
      UserError: the folder cannot be written, or contains a study with another config.
    """
    path = self.path / 'sweep.json'
    before = self.before()
    if self.staged and before:
      self.staged.refresh()  # to know which members were started
    baseline = [m for m in self.members if is_baseline(m.overrides, self.config)]
    listed = {
      member.name: {
        'id': member.id,
        'name': member.name,
        'setting': setting_name(member.overrides, self.config),
        'overrides': dict(member.overrides),
        **dataclasses.asdict(costs_of[member.name]),
      }
      for member in self.members
    }
    kept = {
      entry['name']: entry
      for entry in before.get('members', ())
      if (self.path / 'members' / entry['name']).exists()
    }
    study = {
      'format': FORMAT,
      'study': self.name,
      'config': self._file.path,
      'arguments': self.arguments,
      'values': plain(self.config),
      'command': command,
      'retries': retries,
      'baseline': setting_name(baseline[0].overrides, self.config) if baseline else None,
      'created': before.get('created') or time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
      'members': list((kept | listed).values()),
    }
    try:
      (self.path / 'members').mkdir(parents=True, exist_ok=True)
      files.write_whole(path, (json.dumps(study, indent=2) + '\n').encode(), self.path)
    except OSError as error:
      raise UserError(f'--root: {path}: cannot be written: {error.strerror}') from error
    self.send('sweep.json')

  def before(self) -> dict[str, Any]:
    """Reads the `sweep.json` of an earlier launch; empty if there was none.

    Raises:
      UserError: the earlier launch had another config, or its file cannot be read.
    """
    path = self.path / 'sweep.json'
    if self.staged:
      self.staged.fetch('sweep.json')
    before = read_sweep_file(path)
    different = changes(before['values'], self.config, path) if before else {}
    if different:
      key, (there, here) = next(iter(different.items()))
      raise UserError(
        f'{self.path}: contains a study with another config ({key}: {there} -> {here}); accepted: '
        'the same config, or another --root'
      )
    return before


def read_sweep_file(path: pathlib.Path) -> dict[str, Any]:
  """Reads a `sweep.json`; empty if the file does not exist.

  Raises:
    UserError: the file cannot be read, or has another format.
  """
  if not path.exists():
    return {}
  try:
    stored = json.loads(path.read_text())
    if stored['format'] != FORMAT:
      raise UserError(f'{path}: format {stored["format"]}; accepted: {FORMAT}')
    needed = operator.itemgetter('study', 'config', 'values', 'command', 'baseline', 'created')
    needed(stored)
    for entry in stored['members']:
      operator.itemgetter('name', 'id', 'overrides')(entry)
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"{path}: not a study's file ({error!r}); accepted: one written by `googlenet sweep`, which "
      'writes a new one if it is missing'
    ) from error
  return stored


def _sweep(file: ExperimentFile, name: str | None) -> tuple[str, Any]:
  """The name and the generator function of a sweep in an experiment file."""
  defined = vars(file.module)
  found = {
    n.removeprefix(SWEEP): f for n, f in defined.items() if callable(f) and n.startswith(SWEEP)
  }
  if hyper := defined.get(HYPER):
    found['hyper'] = hyper
  if name is None and len(found) == 1:
    name = next(iter(found))
  if name is None or name not in found:
    accepted = ', '.join(found) or f'none: {file.path} defines no {SWEEP}NAME()'
    raise UserError(f'--sweep{"" if name is None else f"={name}"}: accepted: {accepted}')
  return name, found[name]


def _points(function: Any, config: ConfigDict, name: str, file: ExperimentFile) -> list[Any]:
  """A sweep's points; `get_hyper` is passed the helpers, others the config if they accept it."""
  parameters = inspect.signature(function).parameters
  given = [grids if function.__name__ == HYPER else config][: len(parameters)]
  try:
    with file.imported():
      return list(function(*given))
  except UserError as error:
    raise UserError(f'sweep {name}: {error}') from error
  except Exception as error:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file.path]
    where = f'{file.path}, line {lines[-1]}: ' if lines else ''
    raise UserError(f'sweep {name}: {where}{type(error).__name__}: {error}') from error


@functools.lru_cache(maxsize=256)  # members that differ only in their seed share a network
def _network_costs(
  model: Any, image_size: int
) -> tuple[costs.Breakdown, costs.Breakdown, tuple[str, ...]]:
  """Parameters, multiply-adds, and the names of the modules that have parameters."""
  modules = tuple(abstract_variables(model, image_size)['params'])
  return costs.parameters(model, image_size), costs.macs(model, image_size), modules
