"""Pictures of networks and of their comparison; matplotlib is imported where one is drawn."""
