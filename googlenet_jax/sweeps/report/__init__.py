"""The report of studies: every figure with its provenance, intervals over seeds, one page."""
