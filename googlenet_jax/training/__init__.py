"""Training, in four groups: `config` and what it becomes, the `step`, the `run`, the `devices`."""
