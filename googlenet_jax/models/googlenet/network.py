"""GoogLeNet (Inception v1) as one pure linen module, after Table 1 and Figure 3."""

import functools

import flax.linen as nn
import jax

from googlenet_jax.models.family import CLASSIFIER, Network, Outputs, check_image_size
from googlenet_jax.models.googlenet.inception import Inception
from googlenet_jax.models.googlenet.variants import Architecture, starved_pool
from googlenet_jax.models.heads import attach
from googlenet_jax.models.layers import (
  Classifier,
  GlobalAvgPool,
  LocalResponseNorm,
  MaxPool,
)


class GoogLeNet(Network):
  """The network; `aux` names the Inception modules that have an auxiliary head."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits of the classifier and of each head, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))
    conv = functools.partial(self.convolution, padding=arch.padding, bias_init=arch.bias_init)
    windows = dict(arch.pools())
    aux = {}

    def run(module: nn.Module, x: jax.Array) -> jax.Array:
      return self.run(module, x, train)

    def pool(name: str) -> MaxPool:
      return MaxPool(windows[name], 2, arch.padding, self.forms, name=name)

    def normalize(name: str, x: jax.Array) -> jax.Array:
      return LocalResponseNorm(arch.lrn, self.forms, name=name)(x) if arch.lrn else x

    def modules(stage: str, x: jax.Array, after: MaxPool | None = None) -> jax.Array:
      names = [name for name in arch.widths if name.startswith(stage)]
      for name in names:
        inception = Inception(
          arch.widths[name],
          conv,
          arch.large_kernel,
          arch.padding,
          self.forms,
          arch.large_convolutions,
          arch.branch_pool,
          name=f'inception_{name}',
        )
        if name == names[-1] and name not in self.aux:
          return self.run(inception, x, train, after)
        x = run(inception, x)
        if name in self.aux:
          aux[name] = attach(self, name, x, conv, arch.bias_init, train)
      return after(x) if after else x

    x = images  # [n, 224, 224, 3]
    if arch.stem in ('small', 'single'):
      x = run(conv(arch.conv1, 3, name='conv1'), x)
    else:
      if arch.stem == 'separable':
        channels = x.shape[-1]
        x = run(conv(8 * channels, 7, 2, channels, bare=True, name='conv1_depthwise'), x)
        conv1 = conv(arch.conv1, 1, name='conv1')
      else:
        conv1 = conv(arch.conv1, 7, 2, name='conv1')  # [n, 112, 112, 64]
      x = self.run(conv1, x, train, pool('pool1'))
    x = normalize('norm1', x)
    if arch.conv2_reduce and arch.conv2:
      x = run(conv(arch.conv2_reduce, 1, name='conv2_reduce'), x)
      x = run(conv(arch.conv2, 3, name='conv2'), x)  # [n, 56, 56, 192]
      x = pool('pool2')(normalize('norm2', x))
    x = modules('3', x, pool('pool3'))  # [n, 14, 14, 480]
    x = modules('4', x, pool('pool4'))  # [n, 7, 7, 832]
    x = modules('5', x)  # [n, 7, 7, 1024]
    x = GlobalAvgPool(name='avg_pool')(x)
    x = nn.Dropout(arch.dropout, deterministic=not train, name='dropout')(x)
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), aux)
