"""Weights between file formats and our parameter tree, with what is needed to predict."""
