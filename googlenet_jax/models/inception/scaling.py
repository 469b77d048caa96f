"""What BN-Inception, Inception-v2 and -v3 share: scaling widths and leaving out modules."""

from collections.abc import Callable, Sequence

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import check_factor, scaled

Scale = Callable[[str, int], int]


def widths_by(width: float, reduction: float) -> tuple[Scale, Scale]:
  """Two functions that scale widths by the knobs, rounding once.

  Returns:
    (layer's name, its width) -> new width: one for ordinary layers and one for 1x1 reductions.

  Raises:
    UserError: a knob is not a finite number above 0.
  """
  check_factor('width', width)
  check_factor('reduction', reduction)
  used = f'width={width}'

  def of_all(where: str, channels: int) -> int:
    return scaled(used, width, where, channels)

  def of_reductions(where: str, channels: int) -> int:
    return scaled(f'{used}, reduction={reduction}', width * reduction, where, channels)

  return of_all, of_reductions


def remaining(names: Sequence[str], skip: str, fixed: Sequence[str]) -> list[str]:
  """The modules that remain after some are left out.

  Args:
    names: all modules in order.
    skip: the modules to leave out, as text: `5c,6b`.
    fixed: the modules that cannot be left out.

  Raises:
    UserError: a module in `skip` does not exist or cannot be left out.
  """
  free = [name for name in names if name not in fixed]
  left_out = [part.strip() for part in skip.split(',') if part.strip()]
  for name in left_out:
    if name not in free:
      raise UserError(f'skip={name}: accepted: {", ".join(free)}')
  return [name for name in names if name not in left_out]
