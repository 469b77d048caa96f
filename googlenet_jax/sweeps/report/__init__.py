"""Reports of studies: figures with their provenance and intervals over seeds, on one page."""
