"""Published data sets and weights: their addresses, their checksums, and fetching them."""
