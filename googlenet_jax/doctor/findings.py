"""What one check has found."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Finding:
  """What one check has found.

  Attributes:
    name: what was checked, in one word.
    text: what was found, in one line.
    values: the same for JSON.
    broken: whether something that is needed does not work.
  """

  name: str
  text: str
  values: dict[str, Any] = dataclasses.field(default_factory=dict)
  broken: bool = False
