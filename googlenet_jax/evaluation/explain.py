"""Where a network looks: Grad-CAM (Selvaraju et al., 1610.02391) on the last map."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax.data.augment import test_transform
from googlenet_jax.data.geometry import opencv
from googlenet_jax.errors import UserError
from googlenet_jax.models import CLASSIFIER, FAMILIES, Family, Network, endpoints, family_of
from googlenet_jax.weights.bundle import Bundle, Preprocessing

_HEAT = 0.5  # opacity of the colored map over the picture


def check(bundles: Sequence[Bundle]) -> None:
  """Raises UserError unless each network ends in a map, its average and the classifier."""
  for bundle in bundles:
    family = family_of(bundle.model)
    if family.last_map(bundle.model.architecture) is None:
      shown = ', '.join(name for name, other in FAMILIES.items() if _has_map(other))
      raise UserError(
        f'--explain: {family.name} has no map that is averaged for the classifier, which could be '
        f'shown; accepted: networks of {shown}'
      )


def _has_map(family: Family) -> bool:
  return any(family.last_map(variant.architecture) for variant in family.variants.values())


def grad_cam(bundle: Bundle, images: np.ndarray, classes: Sequence[int]) -> np.ndarray:
  """How much each position of the last map contributes to the logit of a class.

  The last map is followed by the average over all positions and one linear layer, so the logit's
  gradient is the same at every position: the layer's weights divided by the number of positions.
  Grad-CAM is then exactly CAM, and no backward pass is needed.

  Args:
    bundle: the network.
    images: uint8[n, s, s, 3], the crops that the network is applied to.
    classes: index of the class for each image.

  Returns:
    float32[n, h, w], at least 0: the parts of the logit by position. Their sum is the logit, except
    for its bias and the negative parts, which Grad-CAM leaves out.
  """
  maps = _compiled(bundle.model, bundle.preprocessing)(
    {name: bundle.variables[name] for name in bundle.variables},
    jnp.asarray(images),
    jnp.asarray(classes),
  )
  return np.asarray(maps)


@functools.cache
def _compiled(model: Network, preprocessing: Preprocessing) -> Callable[..., jax.Array]:
  layer = family_of(model).last_map(model.architecture)
  assert layer is not None

  def maps(variables: Any, images: jax.Array, classes: jax.Array) -> jax.Array:
    x = endpoints(model, variables, preprocessing.normalization(images), [layer])[layer]
    weights = variables['params'][CLASSIFIER]['kernel'][:, classes]  # [channels, n]
    parts = jnp.einsum('nhwc,cn->nhw', x.astype(jnp.float32), weights)
    return jax.nn.relu(parts) / (x.shape[1] * x.shape[2])

  return jax.jit(maps)


def overlay(bundles: Sequence[Bundle], image: np.ndarray, index: int) -> np.ndarray:
  """The central crop under a colored map that shows where the networks see a class.

  Each network's map is scaled to a maximum of 1; their mean is shown, from blue (0) to red (1).

  Args:
    bundles: the networks.
    image: uint8[h, w, 3], RGB, the whole image.
    index: index of the class.

  Returns:
    uint8[s, s, 3], where s is the image size of the first network.
  """
  cv2 = opencv()
  heat, background = None, None
  for bundle in bundles:
    size = bundle.preprocessing
    crop = test_transform(image, size.image_size, size.resize)
    background = crop if background is None else background
    found = grad_cam(bundle, crop[None], [index])[0]
    scaled = found / max(float(found.max()), np.finfo(np.float32).tiny)
    side = background.shape[0]
    larger = cv2.resize(scaled, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    heat = larger if heat is None else heat + larger
  assert heat is not None and background is not None
  levels = np.round(heat / len(bundles) * 255).astype(np.uint8)
  colors = cv2.applyColorMap(levels, cv2.COLORMAP_JET)[..., ::-1]
  return np.round((1 - _HEAT) * background + _HEAT * colors).astype(np.uint8)
