"""Converts weights, with everything that predictions need, between file formats and our tree."""
