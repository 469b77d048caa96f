"""GoogLeNet (Szegedy et al., "Going deeper with convolutions", 1409.4842) and its variants."""

from googlenet_jax.models.family import Family
from googlenet_jax.models.googlenet.knobs import GoogLeNetKnobs, apply_knobs
from googlenet_jax.models.googlenet.network import GoogLeNet
from googlenet_jax.models.googlenet.variants import VARIANTS

FAMILY = Family(
  name='googlenet',
  title='GoogLeNet',
  network=GoogLeNet,
  knobs=GoogLeNetKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  places=lambda architecture: tuple(architecture.widths),
  heads=('4a', '4d'),
  last_map=lambda architecture: f'inception_{list(architecture.widths)[-1]}',
  first_convolution=lambda architecture: (
    'conv1_depthwise' if architecture.stem == 'separable' else 'conv1'
  ),
  bounds={'lrn.size': 255, 'pool4_window': 7, 'large_kernel': 15, 'large_convolutions': 4},
)
