"""Networks with their weights: our file, and importers and exporters of others' formats."""
