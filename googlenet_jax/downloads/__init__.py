"""Published data sets and weights: where they are, what their checksums are, and getting them."""
