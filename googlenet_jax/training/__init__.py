"""Configs, losses, schedules, the step, checkpoints and the loop."""
