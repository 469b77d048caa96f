"""Converts weights between file formats and our parameter tree, with what predictions need."""
