"""The training step as pure functions: forward pass, losses, optimizer, schedules and state."""
