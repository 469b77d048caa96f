"""Channel order and normalization, put into the first convolution of a network."""

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
  rgb = in_rgb(bundle, '--fold_normalization')
  path = _first_kernel(rgb)
  params = traverse_util.flatten_dict(rgb.variables['params'])
  kernel = params[path]
  std = np.asarray(preprocessing.std, np.float64)
  depthwise = kernel.shape[2] == 1  # one input channel for each group of outputs
  scale = np.repeat(std, kernel.shape[3] // 3) if depthwise else std[:, None]
  params[path] = (kernel / scale).astype(np.float32)
  variables = {**rgb.variables, 'params': traverse_util.unflatten_dict(params)}
  plain = dataclasses.replace(rgb.preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
  return dataclasses.replace(rgb, variables=variables, preprocessing=plain)


def in_rgb(bundle: Bundle, where: str) -> Bundle:
  """The same network for pixels in the order R, G, B, whichever order it was trained on.

  Raises:
    UserError: it is for B, G, R and begins with a depthwise convolution; names `where`.
  """
  if bundle.preprocessing.channel_order == 'rgb':
    return bundle
  path = _first_kernel(bundle)
  params = traverse_util.flatten_dict(bundle.variables['params'])
  if params[path].shape[2] == 1:
    raise UserError(f'{where}: a depthwise stem for B, G and R; accepted: channel order rgb')
  params[path] = params[path][:, :, ::-1]
  variables = {**bundle.variables, 'params': traverse_util.unflatten_dict(params)}
  rgb = dataclasses.replace(bundle.preprocessing, channel_order='rgb')
  return dataclasses.replace(bundle, variables=variables, preprocessing=rgb)


def _first_kernel(bundle: Bundle) -> tuple[str, str]:
  return family_of(bundle.model).first_convolution(bundle.model.architecture), 'kernel'
