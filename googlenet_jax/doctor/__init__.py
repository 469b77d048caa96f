"""Checks this machine and installation: what is available, and whether it works."""
