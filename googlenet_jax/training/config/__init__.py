"""The config and what is made from it: keys, flags, durations in steps, experiments, plans.

An experiment file only needs `defaults`.
"""

from googlenet_jax.training.config.schema import defaults

__all__ = ['defaults']
