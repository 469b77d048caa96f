"""Preprocessing folded into the first convolution: the network then takes pixels as they are."""

import dataclasses

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights.bundle import Bundle


def fold_normalization(bundle: Bundle) -> Bundle:
  """Moves the channel order and the standard deviation into the kernel of the first convolution.

  (x / std) * k = x * (k / std) holds at the borders too, as padded zeros stay zeros. A mean does
  not fold: every stem pads what is normalized already, and its zeros are the mean color in pixels;
  a bias that takes the mean from the pixels would take it from the padding as well.

  Returns:
    A bundle whose preprocessing has RGB order, mean 0 and standard deviation 1.

  Raises:
    UserError: the mean is not 0.
  """
  preprocessing = bundle.preprocessing
  if any(preprocessing.mean):
    raise UserError(
      f'--fold_normalization: the mean {list(preprocessing.mean)} cannot be folded exactly: the '
      'first convolution pads with zeros, which are the mean color; a mean of 0 is accepted'
    )
  params = dict(bundle.variables['params'])
  step = -1 if preprocessing.channel_order == 'bgr' else 1
  std = np.asarray(preprocessing.std)[::step, None]
  kernel = np.asarray(params['conv1']['kernel'], np.float64)
  if 'conv1_depthwise' in params:  # its 8 outputs of each color are inputs of conv1, in order
    depthwise = np.asarray(params['conv1_depthwise']['kernel'], np.float64)
    by_color = depthwise.reshape(*depthwise.shape[:3], 3, -1) / std
    pointwise = kernel.reshape(1, 1, 3, -1, kernel.shape[-1])[:, :, ::step]
    changed = {'conv1_depthwise': by_color[..., ::step, :], 'conv1': pointwise}
  else:
    changed = {'conv1': (kernel / std)[:, :, ::step]}
  for name, value in changed.items():
    value = np.float32(value).reshape(params[name]['kernel'].shape)
    params[name] = {**params[name], 'kernel': np.ascontiguousarray(value)}
  identity = dataclasses.replace(
    preprocessing, channel_order='rgb', mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
  )
  variables = {**bundle.variables, 'params': params}
  return dataclasses.replace(bundle, variables=variables, preprocessing=identity)
