"""Members of a study: their names, ids and command arguments."""

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.config.overrides import override, typed
from googlenet_jax.training.config.schema import keys

_LONGEST = 120  # maximum characters of a name, which is also a folder's name


@dataclasses.dataclass(frozen=True)
class Member:
  """One run of a study."""

  overrides: Mapping[str, Any]
  name: str

  @property
  def id(self) -> str:
    """Eight hex digits that depend on nothing but the overrides."""
    text = json.dumps(self.overrides, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]

  @property
  def arguments(self) -> list[str]:
    """The overrides as arguments of `googlenet train`: `--config.model.reduction=0.5`."""
    return [f'--config.{key}={_argument(value)}' for key, value in self.overrides.items()]


def members(points: Iterable[Mapping[str, Any]], config: ConfigDict) -> list[Member]:
  """Checks points against the config that they override, and creates a named member for each.

  Raises:
    UserError: a key is unknown, a value has the wrong type, two members have the same name, or
      there are no points.
  """
  found: list[Member] = []
  for number, point in enumerate(points):
    if not isinstance(point, Mapping):
      raise UserError(f'member {number} of the sweep: {point!r}; accepted: a dict of overrides')
    overrides = {str(key).removeprefix('config.'): value for key, value in point.items()}
    values = typed(config, overrides)
    found.append(Member(values, _name(values, config)))
  if not found:
    raise UserError('the sweep has no members')
  name, count = Counter(member.name for member in found).most_common(1)[0]
  if count > 1:
    raise UserError(f'the sweep has {count} members named {name}; accepted: one')
  return found


def setting(overrides: Mapping[str, Any]) -> dict[str, Any]:
  """The overrides without the seed; members with the same setting differ only in their seed."""
  return {key: value for key, value in overrides.items() if key != 'seed'}


def is_baseline(overrides: Mapping[str, Any], config: ConfigDict) -> bool:
  """Whether all overrides except the seed have the config's own values, or give the same network.

  Values are compared as they are formatted in names. The network is the same if, for example, it
  has batch normalization anyway.
  """
  before = {key: _readable(value) for key, value in keys(config)}
  asked = setting(overrides)
  different = [key for key, value in asked.items() if before.get(key) != _readable(value)]
  if not different:
    return True
  if 'model.family' in different or not all(key.startswith('model.') for key in different):
    return False
  mine, its = (build_model(one.model, 2) for one in (override(config, asked), config))
  return mine == its


def setting_name(overrides: Mapping[str, Any], config: ConfigDict) -> str:
  """The member's name without the seed."""
  return _name(setting(overrides), config)


def _name(overrides: Mapping[str, Any], config: ConfigDict) -> str:
  """A name such as `reduction=0.5,seed=1`: keys lose their first section if they stay unique."""
  # Overrides for another family of networks have keys that are not in the config.
  known = dict.fromkeys([*(key for key, _ in keys(config)), *overrides])
  short = {key: key.partition('.')[2] or key for key in known}
  count = Counter(short.values())
  parts = [
    f'{short[key] if count[short[key]] == 1 else key}={_readable(value)}'
    for key, value in overrides.items()
  ]
  name = re.sub(r'[^\w.,+=-]', '_', ','.join(parts)) or 'base'
  if len(name) <= _LONGEST:
    return name
  return f'{name[: _LONGEST - 9]}-{Member(overrides, "").id}'


def _readable(value: Any) -> str:
  if isinstance(value, tuple):
    return '+'.join(map(str, value)) or 'none'
  if isinstance(value, float):
    return f'{value:.10g}'
  return str(value).lower() if isinstance(value, bool) else str(value) or 'none'


def _argument(value: Any) -> str:
  return repr(value) if isinstance(value, tuple) else str(value)
