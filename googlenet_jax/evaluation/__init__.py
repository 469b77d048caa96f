"""Crops and models to predictions and the paper's tables."""
