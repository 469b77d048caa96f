"""A training run: its loop, checkpoints, work directory, signals, progress and metrics."""
