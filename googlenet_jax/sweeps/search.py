"""Search instead of a full grid: Optuna picks members from the values in a sweep's points."""

from collections.abc import Callable
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.members import Member, members
from googlenet_jax.sweeps.status import DONE, FAILED
from googlenet_jax.sweeps.study import Study

_LOG = 'optuna.log'
_NAME = 'name'  # the trial attribute for the member's name


class Trials:
  """The trials of a study, stored in its folder; each is a member with values from the grid."""

  def __init__(
    self,
    study: Study,
    count: int,
    retries: int,
    write: Callable[[], None],
  ) -> None:
    """Opens the existing trials and replaces the study's members with theirs.

    Args:
      study: the study, whose points span the search space; `ask` adds to its members.
      count: total number of trials, including existing ones.
      retries: number of retries; a member with more failures counts as failed.
      write: called after the study's members have changed.

    Raises:
      UserError: Optuna is not installed.
    """
    try:
      import optuna
      from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
      raise UserError(
        "--sampler=optuna: not installed; accepted: pip install 'googlenet_jax[search]'"
      ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    self._study, self._count, self._retries, self._write = study, count, retries, write
    self._space = _space(study.members)
    if study.staged:
      study.staged.fetch(_LOG)
    backend = JournalFileBackend(str(study.path / _LOG))
    self._trials = optuna.create_study(
      study_name=study.name,
      storage=optuna.storages.JournalStorage(backend),
      sampler=optuna.samplers.TPESampler(seed=study.config.seed),
      load_if_exists=True,
    )
    self._states = optuna.trial.TrialState
    self._distributions: dict[str, Any] = {
      key: optuna.distributions.CategoricalDistribution(range(len(values)))
      for key, values in self._space.items()
    }
    study.members = self._members()

  def unfinished(self) -> list[Member]:
    """Members of earlier trials that are neither done nor failed."""
    self._tell()
    running = self._names((self._states.RUNNING,))
    return [
      member
      for member in self._study.members
      if member.name in running and self._study.status(member, self._retries).state != FAILED
    ]

  def ask(self) -> Member | None:
    """The next member; None if there are enough trials."""
    self._tell()
    for _ in range(self._count - len(self._trials.trials)):
      trial = self._trials.ask(self._distributions)
      (member,) = members([self._overrides(trial.params)], self._study.config)
      trial.set_user_attr(_NAME, member.name)
      self._study.send(_LOG)
      if member.name not in {m.name for m in self._study.members}:
        self._study.members = [*self._study.members, member]
        self._write()
        return member
      self._tell()  # an earlier trial had the same values, so its error is already known
    return None

  def _overrides(self, params: dict[str, int]) -> dict[str, Any]:
    return {key: self._space[key][index] for key, index in params.items()}

  def _members(self) -> list[Member]:
    points = [self._overrides(trial.params) for trial in self._trials.trials]
    distinct = [point for i, point in enumerate(points) if point not in points[:i]]
    return members(distinct, self._study.config) if distinct else []

  def _names(self, states: tuple[Any, ...]) -> set[str]:
    return {trial.user_attrs.get(_NAME, '') for trial in self._trials.get_trials(states=states)}

  def _tell(self) -> None:
    """Tells Optuna which members are done, with their errors.

    The trial of a failed member keeps running for Optuna, so that the next launch tries it again.
    """
    by_name = {member.name: member for member in self._study.members}
    told = False
    for trial in self._trials.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
      (member,) = members([self._overrides(trial.params)], self._study.config)
      if member.name not in by_name:
        continue
      status = self._study.status(member, self._retries)
      if status.state == DONE:
        self._trials.tell(trial.number, status.top1_error)
        told = True
    if told:
      self._study.send(_LOG)


def _space(grid: list[Member]) -> dict[str, list[Any]]:
  """The values that each key takes in the members of a grid, in order."""
  space: dict[str, list[Any]] = {}
  for member in grid:
    for key, value in member.overrides.items():
      values = space.setdefault(key, [])
      if value not in values:
        values.append(value)
  return space
