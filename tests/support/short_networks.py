"""GoogLeNet with a few of its nine modules, which compiles in a fraction of the time."""

import dataclasses

from googlenet_jax.models import Network
from googlenet_jax.models.googlenet.variants import Architecture


@dataclasses.dataclass(frozen=True)
class Short(Architecture):
  """An architecture with only the modules in `kept`; pools and heads stay in place."""

  kept: tuple[str, ...] = ()

  @property
  def widths(self):
    return {name: widths for name, widths in super().widths.items() if name in self.kept}


def shortened(model: Network, *kept: str) -> Network:
  """The network with only the modules in `kept`."""
  return model.clone(architecture=Short(**vars(model.architecture), kept=kept))
