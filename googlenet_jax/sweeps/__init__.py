"""Studies: grids of overrides, launchers on a machine or a cluster, and their report."""
