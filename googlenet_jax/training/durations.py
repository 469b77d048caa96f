"""Durations as people write them: `30 epochs`, `1000 steps`, `1.2e6 examples`."""

import math
import re

from googlenet_jax.errors import UserError

_PATTERN = re.compile(r'\s*([0-9.]+(?:e[0-9]+)?)\s*(step|epoch|example)s?\s*', re.IGNORECASE)


def to_steps(key: str, duration: str, *, batch_size: int, examples: int) -> int:
  """Optimizer steps in a duration, rounded up.

  Args:
    key: the config key, for the error.
    duration: a number and `steps`, `epochs` or `examples`.
    batch_size: images per step over all devices.
    examples: images in the training split.

  Raises:
    UserError: the text is no duration.
  """
  match = _PATTERN.fullmatch(duration)
  try:
    amount = float(match[1]) if match else -1.0
  except ValueError:
    amount = -1.0
  if not match or amount < 0 or not math.isfinite(amount):
    raise UserError(
      f'{key}={duration!r}: accepted: a number and a unit, '
      "as in '1000 steps', '30 epochs' or '1e6 examples'"
    )
  images = {'step': batch_size, 'epoch': examples, 'example': 1}[match[2].lower()]
  return math.ceil(amount * images / batch_size - 1e-9)
