"""Chooses among equivalent ways to compute a part of a network, by target platform."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jax import lax

from googlenet_jax.errors import UserError

AUTO = 'auto'
PARTS: dict[str, tuple[str, ...]] = {
  'max_pool': ('blocks', 'index', 'window'),
  'lrn': ('slices', 'rounded', 'matrix'),
  'relu': ('before_pool', 'behind_pool'),
  'relu_gradient': ('from_input', 'from_result'),
  'parallel': ('apart', 'joined'),
  'ends': ('before_concat', 'behind_concat'),
  'sums': ('reduce', 'apart', 'product'),
  'normalized': ('fused', 'stored'),
}
"""The forms of each part; docs/hardware.md has measurements or predictions of which is best."""


@dataclasses.dataclass(frozen=True)
class Forms:
  """The form of each part; `auto` is the one that the target platform prefers."""

  max_pool: str = AUTO
  lrn: str = AUTO
  relu: str = AUTO
  relu_gradient: str = AUTO
  parallel: str = AUTO
  ends: str = AUTO
  sums: str = AUTO
  normalized: str = AUTO

  def on(self, platform: str) -> 'Forms':
    """The forms on one platform, which `auto` then need not find out when a program is lowered."""
    preferred = PREFERRED.get(platform, PREFERRED['gpu'])
    chosen = {
      part: getattr(preferred, part) if form == AUTO else form for part, form in vars(self).items()
    }
    return Forms(**chosen)


BY_PLATFORM = Forms()
PLAIN = Forms(
  max_pool='window',
  lrn='slices',
  relu='before_pool',
  relu_gradient='from_input',
  parallel='apart',
  ends='before_concat',
  sums='reduce',
  normalized='fused',
)
"""Each part computed by its definition; multiply-adds are counted in these forms."""

PREFERRED: dict[str, Forms] = {
  'cpu': Forms(
    max_pool='blocks',
    lrn='slices',
    relu='behind_pool',
    relu_gradient='from_input',
    parallel='apart',
    ends='before_concat',
    sums='product',
    normalized='fused',
  ),
  'gpu': Forms(
    max_pool='index',
    lrn='rounded',
    relu='behind_pool',
    relu_gradient='from_input',
    parallel='joined',
    ends='before_concat',
    sums='reduce',
    normalized='fused',
  ),
  'tpu': Forms(
    max_pool='window',
    lrn='matrix',
    relu='behind_pool',
    relu_gradient='from_result',
    parallel='joined',
    ends='behind_concat',
    sums='apart',
    normalized='stored',
  ),
}
"""The best forms on each platform; all other platforms use those of GPUs."""


def forms_by(text: str) -> Forms:
  """Reads `model.kernels`: `auto`, `cpu`, `gpu`, `tpu`, `plain`, or `max_pool=window,lrn=matrix`.

  Raises:
    UserError: there is no such part or form; names those accepted.
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
  """Computes a part in the form chosen for it.

  With `auto` the form is chosen when the computation is lowered, so the choice is also right for
  programs compiled ahead of time for another platform and for exports to several platforms.

  Args:
    forms: the form of each part.
    part: one of `PARTS`.
    functions: a function for each form; all return arrays of the same shapes and types.
    *arguments: the function's arguments, arrays.
  """
  form = getattr(forms, part)
  if form != AUTO:
    return functions[form](*arguments)
  chosen = {platform: functions[getattr(PREFERRED[platform], part)] for platform in PREFERRED}
  default = chosen.pop('gpu')  # JAX has several names for GPUs
  apart = {platform: function for platform, function in chosen.items() if function is not default}
  return lax.platform_dependent(*arguments, **apart, default=default)
