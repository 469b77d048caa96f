"""The config and what it becomes: every key, its flags, durations in steps, an experiment, a plan.

An experiment file needs `defaults` alone.
"""

from googlenet_jax.training.config.schema import defaults

__all__ = ['defaults']
