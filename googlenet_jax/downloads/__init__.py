"""Published data sets and weights: a table of addresses and checksums, and fetching."""
