"""Checks this machine and installation: what there is, and whether it works."""
