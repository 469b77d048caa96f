"""A check of this machine and installation: what is there, and what of it works."""
