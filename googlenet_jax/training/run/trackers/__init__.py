"""Where a run's curves go besides `metrics.jsonl`: TensorBoard, W&B or MLflow, one interface."""
