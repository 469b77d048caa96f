"""Evaluation: networks, crops, predictions and the paper's tables."""
