"""What followed GoogLeNet: BN-Inception (1502.03167), Inception-v2 and -v3 (1512.00567).

Two families, as two papers: their modules differ, but all are branches as data.
"""

from googlenet_jax.models.inception.bn_inception import FAMILY as BN_INCEPTION
from googlenet_jax.models.inception.factorized import FAMILY as INCEPTION

__all__ = ['BN_INCEPTION', 'INCEPTION']
