"""The alarm for classifiers that do no better than a random guess while others learn.

The thresholds below are our own. They are based on the learning curves of 84 stored runs
(docs/studies), in which the last classifier needed at most 1.5 times as many steps as the first to
do better than a guess, and on a published collapse (BVLC/caffe, pull request 1598), in which the
loss of two classifiers was still ln 1000 after 2.4 million steps.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from googlenet_jax.models import CLASSIFIER, PREFIX
from googlenet_jax.training.config.experiment import Experiment
from googlenet_jax.training.step.losses import guess_loss
from googlenet_jax.training.step.optimizer import frozen_modules
from googlenet_jax.training.step.state import TrainState, renewed

LEARNED = 0.1
"""A classifier has learned if its loss is at least this fraction below that of a guess."""
GUESSING = 0.02
"""A classifier is guessing if its loss is less than this fraction below that of a guess."""
PATIENCE = 5
"""A classifier may guess for this many times as many steps as the first one took to learn."""
IMAGES = 1000
"""Losses are averaged over at least this many images: with fewer, chance can look like learning."""

REMEDIES = (
  'a lower optimizer.learning_rate, batch normalization, a schedule.warmup, another '
  'model.kernel_init'
)


@dataclasses.dataclass
class Guesses:
  """The state of the alarm, in steps and sums of losses, which JSON stores exactly.

  Attributes:
    count: steps since the last judgment.
    sums: sums of the losses in these steps, by classifier.
    first: the step by which the first classifier had learned; None if none has.
    since: the step since which each classifier has been guessing.
  """

  count: int = 0
  sums: dict[str, float] = dataclasses.field(default_factory=dict)
  first: int | None = None
  since: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Collapse:
  """An alarm: the classifiers that are guessing, those that are not, and their losses by name."""

  step: int
  guessing: tuple[str, ...]
  others: tuple[str, ...]
  losses: dict[str, float]
  since: dict[str, int]

  def describe(self, guess: float) -> str:
    """One line with the classifiers and the known remedies; `guess` is the loss of a guess."""
    who = ', '.join(
      f'{name} (loss {self.losses[name]:.4f}, since step {self.since[name]})'
      for name in self.guessing
    )
    learned = ', '.join(f'{name} ({self.losses[name]:.4f})' for name in self.others)
    return (
      f'collapse at step {self.step}: {who} at the loss of a guess ({guess:.4f}) while others '
      f'learn: {learned}; known remedies: {REMEDIES}'
    )


class CollapseAlarm:
  """Judges the mean losses of windows of training steps."""

  def __init__(
    self,
    guess: float,
    every: int,
    taught: Callable[[str, int], bool],
    remembered: dict[str, Any] | None = None,
  ) -> None:
    """Starts the alarm, or continues it from an earlier state.

    Args:
      guess: the loss of a guess, such as ln(classes).
      every: steps between two judgments.
      taught: (name of a classifier, step from 1) -> whether it is trained in that step.
      remembered: the result of `remember`; None to start afresh.
    """
    self.guess = guess
    self._every, self._taught = every, taught
    self._state = Guesses(**remembered) if remembered else Guesses()

  def remember(self) -> dict[str, Any]:
    """The state as JSON values."""
    return dataclasses.asdict(self._state)

  def add(self, step: int, history: Sequence[dict[str, float]]) -> Collapse | None:
    """Adds the losses of the steps since the last call, and judges them if this is due.

    Args:
      step: the last of these steps.
      history: the losses of each step, by classifier.

    Returns:
      The alarm; None if no classifier has collapsed.
    """
    state = self._state
    state.count += len(history)
    for losses in history:
      for name, loss in losses.items():
        state.sums[name] = state.sums.get(name, 0.0) + loss
    if step % self._every or not state.count:
      return None
    means = {name: total / state.count for name, total in state.sums.items()}
    state.count, state.sums = 0, {}
    return self.judge(step, means)

  def judge(self, step: int, losses: dict[str, float]) -> Collapse | None:
    """Judges the mean losses of the steps since the last judgment.

    A classifier has collapsed if it has been guessing for `PATIENCE` times as many steps as the
    first classifier took to learn, and another one has learned. The count restarts after an alarm,
    and pauses while the classifier is not trained.
    """
    state = self._state
    learned = {name: 1 - loss / self.guess for name, loss in losses.items()}
    for name, share in learned.items():
      if share >= GUESSING or not self._taught(name, step):
        state.since[name] = step
      state.since.setdefault(name, 0)
    others = tuple(name for name, share in learned.items() if share >= LEARNED)
    if others and state.first is None:
      state.first = step
    if not others or state.first is None:
      return None
    late = {
      name: since
      for name, since in state.since.items()
      if name in losses and step - since >= PATIENCE * state.first
    }
    if not late:
      return None
    state.since |= dict.fromkeys(late, step)
    others = tuple(name for name in losses if learned[name] >= GUESSING)
    return Collapse(step, tuple(late), others, losses, late)


def alarm_of(experiment: Experiment, remembered: dict[str, Any] | None) -> CollapseAlarm:
  """The alarm of a run, which continues from the state `remembered`."""
  config, durations = experiment.config, experiment.durations
  weights, frozen = experiment.hyper['head_weights'], frozen_modules(experiment.rates)

  def taught(name: str, step: int) -> bool:
    if name == 'main':
      return CLASSIFIER not in frozen
    return name not in frozen and weights[name.removeprefix(PREFIX)][step - 1] > 0

  lines = math.ceil(IMAGES / (config.batch_size * durations.log_every))
  guess = guess_loss(config.loss.name, experiment.model.classes)
  return CollapseAlarm(guess, lines * durations.log_every, taught, remembered)


def begin_anew(experiment: Experiment, collapse: Collapse, state: TrainState) -> TrainState:
  """The state after a collapse: modules that lead only to guessing classifiers are reinitialized.

  The random key for the new values is derived from the config's seed and the step.
  """
  reached = experiment.reached
  lost = frozenset[str]().union(*(reached[name] for name in collapse.guessing))
  kept = frozenset[str]().union(*(reached[name] for name in collapse.others))
  key = jax.random.fold_in(experiment.initial_key, collapse.step)
  return renewed(state, experiment.create_state(key), lost - kept)
