"""Which of several equal ways a part of a network is computed in, by the platform compiled for."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jax import lax

from googlenet_jax.errors import UserError

AUTO = 'auto'
PARTS: dict[str, tuple[str, ...]] = {
  'max_pool': ('slices', 'blocks', 'index', 'window'),
  'lrn': ('slices', 'rounded', 'matrix'),
  'relu': ('before_pool', 'behind_pool'),
}
"""The forms of each part; where one is best is measured or predicted in docs/hardware.md."""


@dataclasses.dataclass(frozen=True)
class Forms:
  """The form of each part; `auto` is the one that the platform compiled for prefers."""

  max_pool: str = AUTO
  lrn: str = AUTO
  relu: str = AUTO


BY_PLATFORM = Forms()
PLAIN = Forms(max_pool='window', lrn='slices', relu='before_pool')
"""Each part as it is defined: what multiply-adds are counted of."""

PREFERRED: dict[str, Forms] = {
  'cpu': Forms(max_pool='blocks', lrn='slices', relu='behind_pool'),
  'gpu': Forms(max_pool='index', lrn='rounded', relu='behind_pool'),
  'tpu': Forms(max_pool='window', lrn='matrix', relu='behind_pool'),
}
"""The forms that each platform is best served with; those of GPUs serve all others, too."""


def forms_by(text: str) -> Forms:
  """Reads `model.kernels`: `auto`, `cpu`, `gpu`, `tpu`, `plain`, or `max_pool=window,lrn=matrix`.

  Raises:
    UserError: names the part and the forms that it has.
  """
  named = {AUTO: BY_PLATFORM, **PREFERRED, 'plain': PLAIN}
  if text in named:
    return named[text]
  chosen: dict[str, str] = {}
  for pair in text.split(','):
    part, _, form = pair.partition('=')
    if part not in PARTS:
      raise UserError(
        f'kernels={text}: accepted: {", ".join(named)}, or forms of single parts '
        f'({", ".join(PARTS)}), as in max_pool={PARTS["max_pool"][0]}'
      )
    if form not in (AUTO, *PARTS[part]):
      raise UserError(f'kernels={text}: {part}: accepted: {", ".join((AUTO, *PARTS[part]))}')
    chosen[part] = form
  return Forms(**chosen)


def compute(
  forms: Forms, part: str, functions: Mapping[str, Callable[..., Any]], *arguments: Any
) -> Any:
  """Computes a part in the form that is chosen for it.

  With `auto` the choice falls when the computation is lowered, so that it also holds for programs
  that are compiled ahead for another platform, and for exports for several.

  Args:
    forms: the form of each part.
    part: one of `PARTS`.
    functions: by form; each gives arrays of the same shapes and types.
    *arguments: arrays.
  """
  form = getattr(forms, part)
  if form != AUTO:
    return functions[form](*arguments)
  chosen = {platform: functions[getattr(PREFERRED[platform], part)] for platform in PREFERRED}
  default = chosen.pop('gpu')  # JAX has several names for GPUs
  apart = {platform: function for platform, function in chosen.items() if function is not default}
  return lax.platform_dependent(*arguments, **apart, default=default)
