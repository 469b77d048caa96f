"""Folds parts of the preprocessing, channel order and scale, into the first convolution."""

import dataclasses

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import Network, family_of
from googlenet_jax.normalization import Normalization
from googlenet_jax.weights.bundle import Bundle


def first_convolution(model: Network) -> str:
  """The name of the module that is applied to the images."""
  return family_of(model).first_convolution(model.architecture)


def fold_normalization(bundle: Bundle) -> Bundle:
  """Returns a bundle that computes the same from raw RGB pixels (0 to 255).

  The first convolution's kernel absorbs channel order and scale. It cannot absorb a mean: every
  variant pads the images with zeros, which are the mean color before folding and black after it,
  so results would change along the border.

  Raises:
    UserError: the preprocessing subtracts a mean.
  """
  if any(bundle.preprocessing.normalization.mean):
    mean = ', '.join(f'{value:g}' for value in bundle.preprocessing.normalization.mean)
    raise UserError(
      f'--fold_normalization: the mean {mean} cannot be folded exactly, as the first convolution '
      f'pads with zeros, which would no longer be the mean; accepted: weights with mean 0, 0, 0'
    )
  bundle = in_rgb(bundle, '--fold_normalization')
  std = np.asarray(bundle.preprocessing.normalization.std, np.float64)
  kernel = _first_kernel(bundle)
  depthwise = kernel.shape[2] == 1  # one input channel for each group of outputs
  scale = np.repeat(std, kernel.shape[3] // 3) if depthwise else std[:, None]
  plain = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
  return _with_first_kernel(bundle, (kernel / scale).astype(np.float32), plain)


def in_rgb(bundle: Bundle, where: str) -> Bundle:
  """The same network for RGB images; if its first kernel is for BGR, the kernel is reversed.

  Args:
    bundle: a network for either order of channels.
    where: the flag or key that asks for this, for messages.

  Raises:
    UserError: the network takes BGR in a depthwise convolution, whose outputs would have to be
      reordered as well.
  """
  normalization = bundle.preprocessing.normalization
  if normalization.channel_order == 'rgb':
    return bundle
  kernel = _first_kernel(bundle)
  if kernel.shape[2] == 1:
    raise UserError(f'{where}: a depthwise first convolution of B, G and R; accepted: R, G and B')
  turned = dataclasses.replace(normalization, channel_order='rgb')
  return _with_first_kernel(bundle, kernel[:, :, ::-1], turned)


def _first_kernel(bundle: Bundle) -> np.ndarray:
  return bundle.variables['params'][first_convolution(bundle.model)]['kernel']


def _with_first_kernel(bundle: Bundle, kernel: np.ndarray, normalization: Normalization) -> Bundle:
  """A bundle with another first kernel and the normalization that goes with it."""
  name, params = first_convolution(bundle.model), bundle.variables['params']
  params = {**params, name: {**params[name], 'kernel': np.ascontiguousarray(kernel)}}
  return dataclasses.replace(
    bundle,
    variables={**bundle.variables, 'params': params},
    preprocessing=dataclasses.replace(bundle.preprocessing, normalization=normalization),
  )
