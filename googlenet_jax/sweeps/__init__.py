"""Studies: grids of overrides, launchers for a machine or a cluster, and reports."""
