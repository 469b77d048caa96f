"""Every variant of every family as parameters of a test: the first of each in `make test`.

`make test-long` has the others, which differ from the first in widths and depth.
"""

from collections.abc import Callable, Iterable

import pytest

from googlenet_jax.models import FAMILIES


def variants(
  families: Iterable[str] = FAMILIES, wanted: Callable[[str, str], object] = lambda *_: True
) -> pytest.MarkDecorator:
  """Parameters `name` and `variant`, for variants that are wanted."""
  pairs = ((name, variant) for name in families for variant in FAMILIES[name].variants)
  return pytest.mark.parametrize(
    ('name', 'variant'),
    [
      pytest.param(
        name, variant, marks=[] if variant == next(iter(FAMILIES[name].variants)) else [LONG]
      )
      for name, variant in pairs
      if wanted(name, variant)
    ],
  )


LONG = pytest.mark.long
