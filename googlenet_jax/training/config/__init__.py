"""The config and what is derived from it: keys, flags, durations in steps, experiments, plans.

An experiment file needs only `defaults`.
"""

from googlenet_jax.training.config.schema import defaults

__all__ = ['defaults']
