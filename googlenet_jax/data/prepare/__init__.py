"""Prepares a user's images as a sharded ArrayRecord data set that TFDS reads, without TensorFlow.

`prepare` lists the source (`sources`), deals its images into shards (`listing`) and writes the
shards in several processes (`data.workers`, `shards`). When all are complete, it writes TFDS's own
description of the data set (`dataset_info`), without which nothing reads the data set.
"""

from googlenet_jax.data.prepare.prepared import PreparedData, describe
from googlenet_jax.data.prepare.preparing import check_out, prepare

__all__ = ['PreparedData', 'check_out', 'describe', 'prepare']
