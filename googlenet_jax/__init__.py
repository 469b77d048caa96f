"""GoogLeNet in JAX: the exact network, trainable, with every ablation one config away.

  models      networks and their variants, pure linen modules (jax and flax only)
  analysis    counts of parameters and multiply-adds, the audit of Table 1
  data        images: sources, decoding, augmentation, pipeline
  downloads   published data and weights: addresses, checksums, fetching
  weights     weight files, ours and other projects', with their preprocessing
  training    configs, losses, schedules, the step, checkpoints, the loop
  evaluation  crops x networks, the paper's Table 3, predictions
  sweeps      studies on a machine or a cluster, and their reports
  demo        the config that `googlenet demo` trains
  doctor      checks of the machine and the installation

`googlenet --help` lists the commands; `googlenet_jax.models.googlenet` builds a network. To get the
command line's defaults, call `googlenet_jax.runtime.configure()` before importing JAX.
"""

__version__ = '0.1.0'
