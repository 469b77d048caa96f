"""What people have, turned into one sharded ArrayRecord data set that TFDS reads, no TensorFlow.

`prepare` lists the source (`sources`), deals its images into shards (`listing`), writes each shard
in some process (`data.workers`, `shards`), and when all are there writes TFDS's own description of
the data set (`dataset_info`), without which nothing reads it.
"""

from googlenet_jax.data.prepare.prepared import PreparedData, describe
from googlenet_jax.data.prepare.preparing import check_out, prepare

__all__ = ['PreparedData', 'check_out', 'describe', 'prepare']
