"""Kinds of files that hold weights: what is in one, read and written; nothing in them is run."""
