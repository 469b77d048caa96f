"""Two rules that suggest places for auxiliary heads from a network's gradients."""

import dataclasses
from collections.abc import Callable, Sequence

from googlenet_jax.analysis.gradients.record import Record

THRESHOLD = 1e-7
"""Mean absolute gradient below which a layer's gradient vanishes, according to 1505.02496."""

FALL = 0.01
"""Share of the top layer's gradient that counts as a fall in the scale-free rule; our choice."""


@dataclasses.dataclass(frozen=True)
class Suggestion:
  """Places for heads.

  Attributes:
    rule: `cnds` or `relative`.
    modules: the modules after which the rule suggests a head, lowest first.
    places: the nearest places where heads can attach, as named in `config.model.aux`.
    rests_on: the rule's criterion and limits, and the smallest gradient.
    notes: modules without a place of their own, and the place used instead.
  """

  rule: str
  modules: tuple[str, ...]
  places: tuple[str, ...]
  rests_on: str
  notes: tuple[str, ...]


def suggest(record: Record) -> dict[str, Suggestion]:
  """The suggestion of each rule, by name.

  Both rules go down from the top and use the mean absolute gradient of weights without heads, over
  seeds and iterations. They do not test the last module, which no head can help.
  """
  return {rule: _suggested(record, rule, find) for rule, find in RULES.items()}


def below_threshold(gradients: Sequence[float]) -> tuple[list[int], str]:
  """The rule of CNDS (1505.02496): the highest module whose gradient is below 1e-7.

  Args:
    gradients: the mean absolute gradient of each module, lowest first.

  Returns:
    The indices of the modules, and what the suggestion rests on.
  """
  low = [place for place, gradient in enumerate(gradients[:-1]) if gradient < THRESHOLD]
  return low[-1:], (
    f'1505.02496: a head behind the layer whose mean absolute gradient of weights falls below '
    f'1e-7 (here the least is {min(gradients):.1e}); a factor before the loss, other '
    'widths or another batch size move the gradients but not the threshold'
  )


def below_the_top(gradients: Sequence[float]) -> tuple[list[int], str]:
  """The scale-free rule: a head wherever the gradient has fallen by another factor of 100.

  The first head goes after the highest module with less than a hundredth of the top module's
  gradient, the next after the highest with less than a hundredth of a hundredth, and so on.

  Args:
    gradients: as in `below_threshold`.

  Returns:
    As in `below_threshold`.
  """
  *others, top = gradients
  found: list[int] = []
  bound = top * FALL
  while low := [place for place, gradient in enumerate(others) if 0 < gradient < bound]:
    if low[-1] not in found:
      found.append(low[-1])
    bound *= FALL
  if top > 0 and 0 in others and not found:
    found = [max(place for place, gradient in enumerate(others) if gradient == 0)]
  least = f'{min(others) / top:.1e}' if others and top > 0 else 'unknown'
  return sorted(found), (
    f'ratios alone: a head wherever the mean absolute gradient of weights has fallen to another '
    f"{FALL:g} of the top module's (here the least share is {least}); a factor before the loss "
    'changes nothing, initial values and the sizes of layers still do'
  )


Rule = Callable[[Sequence[float]], tuple[list[int], str]]
RULES: dict[str, Rule] = {'cnds': below_threshold, 'relative': below_the_top}
"""The rules by name."""


def _suggested(record: Record, rule: str, find: Rule) -> Suggestion:
  names = [module.name for module in record.trunk]
  asked = [name for name in names if name not in record.frozen]
  gradients = [float(record.off[name]['mean_abs_gradient'].mean()) for name in asked]
  found, rests_on = find(gradients) if asked else ([], 'nothing: every module is frozen')
  modules = [asked[place] for place in found]
  places: dict[str, None] = {}
  notes = []
  behind = {module: place for place, module in record.attachments.items()}
  for module in modules:
    if not behind:
      notes.append(f'{module} has no attachment point: the family has no auxiliary heads')
      continue
    # If two are equally near, take the higher one, since its gradient reaches the module too.
    near = min(behind, key=lambda m: (abs(names.index(m) - names.index(module)), -names.index(m)))
    places.setdefault(behind[near])
    if near != module:
      notes.append(
        f'{module} has no attachment point; the nearest is {behind[near]}, behind {near}'
      )
  return Suggestion(rule, tuple(modules), tuple(places), rests_on, tuple(notes))
