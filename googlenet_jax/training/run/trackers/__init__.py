"""Where a run's curves go besides `metrics.jsonl`: TensorBoard, W&B, MLflow; one interface."""
