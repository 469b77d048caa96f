"""The step: the network in training, its losses, optimizer, schedules and state; pure functions."""
