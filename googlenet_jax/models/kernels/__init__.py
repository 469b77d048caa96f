"""The parts of networks that can be computed in several ways, as functions of arrays [n, h, w, c].

Each has one or more forms that agree up to rounding; `forms` chooses one for each platform.
"""

from googlenet_jax.models.kernels.forms import (
  BY_PLATFORM,
  PLAIN,
  PREFERRED,
  Forms,
  compute,
  forms_by,
)
from googlenet_jax.models.kernels.lrn import LRN, local_response_norm
from googlenet_jax.models.kernels.parallel import parallel_convolutions
from googlenet_jax.models.kernels.pooling import (
  Padding,
  adaptive_avg_pool,
  max_pool,
  pool_padding,
)
from googlenet_jax.models.kernels.stored import relu, stored
from googlenet_jax.models.kernels.sums import add_bias, channel_moments, normalize

__all__ = [
  'BY_PLATFORM',
  'LRN',
  'PLAIN',
  'PREFERRED',
  'Forms',
  'Padding',
  'adaptive_avg_pool',
  'add_bias',
  'channel_moments',
  'compute',
  'forms_by',
  'local_response_norm',
  'max_pool',
  'normalize',
  'parallel_convolutions',
  'pool_padding',
  'relu',
  'stored',
]
