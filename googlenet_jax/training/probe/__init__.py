"""A probe of a run's first steps: what `analysis.gradients` measures, on a config's own loss."""
