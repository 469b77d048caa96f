"""Probes a run's first steps: the measurements of `analysis.gradients` with a config's own loss."""
