"""GoogLeNet's successors: BN-Inception (1502.03167), Inception-v2 and -v3 (1512.00567).

There are two families, one per paper: their modules differ, but all consist of `Branch` objects.
"""

from googlenet_jax.models.inception.bn_inception import FAMILY as BN_INCEPTION
from googlenet_jax.models.inception.factorized import FAMILY as INCEPTION

__all__ = ['BN_INCEPTION', 'INCEPTION']
