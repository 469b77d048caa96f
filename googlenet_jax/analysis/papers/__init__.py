"""Tables of papers by family of networks: the printed figures as data."""

from googlenet_jax.analysis.papers import alexnet, cnds, dsn, googlenet, nin, resnet, vgg, zfnet
from googlenet_jax.analysis.papers.paper import (
  Claim,
  Paper,
  PrintedRow,
  ReportedError,
  Statement,
  digits,
  extent,
  mega,
)

PAPERS: dict[str, Paper] = {
  'googlenet': googlenet.PAPER,
  'alexnet': alexnet.PAPER,
  'resnet': resnet.PAPER,
  'nin': nin.PAPER,
  'zfnet': zfnet.PAPER,
  'vgg': vgg.PAPER,
  'cnds': cnds.PAPER,
  'dsn': dsn.PAPER,
}
"""The paper of each family that has one."""

__all__ = [
  'PAPERS',
  'Claim',
  'Paper',
  'PrintedRow',
  'ReportedError',
  'Statement',
  'digits',
  'extent',
  'mega',
]
