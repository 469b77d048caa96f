"""Images from their source to batches of uint8; independent of models and accelerators."""
