"""The alarm for classifiers that stay at the loss of a guess while others learn.

The figures below are ours. They rest on the learning curves of 84 stored runs (docs/studies), in
which the last classifier is above a guess after 1.5 times the steps of the first at most, and on
the published collapse (BVLC/caffe, pull request 1598), in which two classifiers are at ln 1000
after 2.4 million steps.
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
"""A classifier has learned where its loss is this share below that of a guess."""
GUESSING = 0.02
"""It guesses where its loss is not even this share below."""
PATIENCE = 5
"""It may guess for as many times the steps that the first one took to learn."""
IMAGES = 1000
"""The fewest images that a loss is the mean of: a few images can look like learning."""

REMEDIES = (
  'a lower optimizer.learning_rate, batch normalization, a schedule.warmup, another '
  'model.kernel_init'
)


@dataclasses.dataclass
class Guesses:
  """What the alarm remembers, in steps and sums of losses; JSON holds it to the bit.

  Attributes:
    count: steps since the last judgement.
    sums: their losses by classifier.
    first: the step at which the first classifier had learned; None before there is one.
    since: the step since which each classifier guesses.
  """

  count: int = 0
  sums: dict[str, float] = dataclasses.field(default_factory=dict)
  first: int | None = None
  since: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Collapse:
  """An alarm: who guesses, who does not, and the loss of each by its name."""

  step: int
  guessing: tuple[str, ...]
  others: tuple[str, ...]
  losses: dict[str, float]
  since: dict[str, int]

  def describe(self, guess: float) -> str:
    """One line that names the classifiers and the known remedies; `guess` is a guess's loss."""
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
    """Begins, or goes on.

    Args:
      guess: the loss of a guess, such as ln(classes).
      every: steps between two judgements.
      taught: whether a classifier learns in a step, by its name and the step from 1.
      remembered: what `remember` gave; None at the beginning.
    """
    self.guess = guess
    self._every, self._taught = every, taught
    self._state = Guesses(**remembered) if remembered else Guesses()

  def remember(self) -> dict[str, Any]:
    """The state as JSON holds it."""
    return dataclasses.asdict(self._state)

  def add(self, step: int, history: Sequence[dict[str, float]]) -> Collapse | None:
    """Takes the losses of the steps since the last call, and judges where that is due.

    Args:
      step: the last of the steps.
      history: their losses by classifier.

    Returns:
      The alarm; None where nobody has collapsed.
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
    """Takes the mean losses of the steps since the last judgement.

    A classifier has collapsed that has guessed in all windows of `PATIENCE` times the steps that
    the first classifier took to learn, while another one has learned. Its clock begins again then,
    and stands still while it is not taught.
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
  """The alarm of a run, which goes on where `remembered` left off."""
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
  """The state after a collapse: what leads to the classifiers that guess, and to no other, is new.

  The values are those that a run would begin with whose seed is the config's and the step.
  """
  reached = experiment.reached
  lost = frozenset[str]().union(*(reached[name] for name in collapse.guessing))
  kept = frozenset[str]().union(*(reached[name] for name in collapse.others))
  key = jax.random.fold_in(experiment.initial_key, collapse.step)
  return renewed(state, experiment.create_state(key), lost - kept)
