"""Made-up records, not measured on a network."""

import numpy as np

from googlenet_jax.analysis.gradients.modules import Module
from googlenet_jax.analysis.gradients.record import FIGURES, Record

FACTORS = np.array([[0.8, 1.2, 1.0], [1.0, 0.9, 1.1]])  # two seeds, three iterations


def series(gradients):
  """Every figure of each module around one value."""
  return {name: dict.fromkeys(FIGURES, value * FACTORS) for name, value in gradients.items()}


def record(gradients, attachments, frozen=(), heads=None):
  """A record whose modules, the lowest first, have these mean absolute gradients.

  Args:
    gradients: mean absolute gradients by module.
    attachments: modules by place.
    frozen: modules whose learning rate is 0.
    heads: gradients with a head at the first place; None for a record without heads.
  """
  modules = [Module(name, {name: 10}) for name in gradients]
  places = list(attachments)[:1] if heads else []
  if heads:
    behind = list(gradients).index(attachments[places[0]]) + 1
    modules.insert(behind, Module(f'aux_{places[0]}', {f'aux_{places[0]}/fc': 10}))
    layers = dict.fromkeys((f'aux_{places[0]}', f'aux_{places[0]}/fc'), 1e-3)
  return Record(
    about={
      'family': 'cnds',
      'variant': 'small',
      'batch_size': 8,
      'image_size': 32,
      'dtype': 'float32',
    },
    seeds=[0, 1],
    iterations=3,
    heads=places,
    modules=modules,
    frozen=frozen,
    attachments=attachments,
    off=series(gradients),
    on=series(heads | layers) if heads else None,
  )
