"""GoogLeNet and its variants as pure linen modules; needs jax and flax only."""

from googlenet_jax.models.googlenet import (
  GoogLeNet,
  Outputs,
  endpoint_names,
  endpoints,
  googlenet,
  without_heads,
)
from googlenet_jax.models.inception import MODULES, TABLE1, Widths
from googlenet_jax.models.layers import LRN
from googlenet_jax.models.variants import VARIANTS, Architecture

__all__ = [
  'LRN',
  'MODULES',
  'TABLE1',
  'VARIANTS',
  'Architecture',
  'GoogLeNet',
  'Outputs',
  'Widths',
  'endpoint_names',
  'endpoints',
  'googlenet',
  'without_heads',
]
