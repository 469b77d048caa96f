"""GoogLeNet with a few of its nine modules, which compiles in a part of the time."""

import dataclasses

from googlenet_jax.models import Network
from googlenet_jax.models.googlenet.variants import Architecture


@dataclasses.dataclass(frozen=True)
class Short(Architecture):
  """An architecture with the modules that are `kept`; pools and heads stay where they are."""

  kept: tuple[str, ...] = ()

  @property
  def widths(self):
    return {name: widths for name, widths in super().widths.items() if name in self.kept}


def shortened(model: Network, *kept: str) -> Network:
  """The same network with no modules but these."""
  return model.clone(architecture=Short(**vars(model.architecture), kept=kept))
