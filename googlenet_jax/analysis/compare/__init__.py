"""Compares networks: what each costs, what papers say about them, and a page with all of this."""
