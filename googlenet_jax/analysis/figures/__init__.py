"""Pictures of networks and of their comparison; matplotlib is only imported to draw one."""
