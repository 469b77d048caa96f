"""Images from their source to batches of uint8; knows no model and no accelerator."""
