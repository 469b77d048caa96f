"""Normalization folded into the first convolution, so that a network takes raw pixels."""

import dataclasses

import numpy as np
from flax import traverse_util

from googlenet_jax.errors import UserError
from googlenet_jax.models import family_of
from googlenet_jax.weights.bundle import Bundle


def fold_normalization(bundle: Bundle) -> Bundle:
  """The same function of raw RGB pixels 0 to 255: channel order and scale go into the kernel.

  A mean cannot follow them. The first convolution of every variant pads with zeros, which stand for
  the mean before folding and for black after it: results would change along the border.

  Raises:
    UserError: the preprocessing subtracts a mean.
  """
  preprocessing = bundle.preprocessing
  if any(preprocessing.mean):
    mean = ', '.join(f'{value:g}' for value in preprocessing.mean)
    raise UserError(
      f'--fold_normalization: the mean {mean} cannot be folded exactly, as the first convolution '
      f'pads with zeros, which stand for it; accepted: weights with mean 0, 0, 0'
    )
  name = family_of(bundle.model).first_convolution(bundle.model.architecture)
  params = traverse_util.flatten_dict(bundle.variables['params'])
  kernel = params[name, 'kernel']
  std = np.asarray(preprocessing.std, np.float64)
  if preprocessing.channel_order == 'bgr':
    kernel = _in_rgb(kernel)
  depthwise = kernel.shape[2] == 1  # one input channel for each group of outputs
  scale = np.repeat(std, kernel.shape[3] // 3) if depthwise else std[:, None]
  params[name, 'kernel'] = (kernel / scale).astype(np.float32)
  variables = {**bundle.variables, 'params': traverse_util.unflatten_dict(params)}
  plain = dataclasses.replace(
    preprocessing, channel_order='rgb', mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
  )
  return dataclasses.replace(bundle, variables=variables, preprocessing=plain)


def _in_rgb(kernel: np.ndarray) -> np.ndarray:
  """A kernel for B, G, R as one for R, G, B."""
  if kernel.shape[2] == 1:
    raise UserError('--fold_normalization: accepted for a depthwise stem: channel order rgb')
  return kernel[:, :, ::-1]
