"""Runs members on clusters: SLURM, Kubernetes and Cloud TPU, behind one protocol."""
