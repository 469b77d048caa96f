"""The result of one check."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Finding:
  """The result of one check.

  Attributes:
    name: what was checked, in one word.
    text: what was found, in one line.
    values: what was found, as JSON values.
    broken: whether something required does not work.
  """

  name: str
  text: str
  values: dict[str, Any] = dataclasses.field(default_factory=dict)
  broken: bool = False
