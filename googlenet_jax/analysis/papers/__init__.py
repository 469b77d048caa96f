"""Tables of papers by family of networks: the printed figures as data."""

from googlenet_jax.analysis.papers import (
  alexnet,
  bn_inception,
  cnds,
  dsn,
  googlenet,
  nin,
  resnet,
  rethinking,
  vgg,
  zfnet,
)
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
  'bn_inception': bn_inception.PAPER,
  'inception': rethinking.PAPER,
}
"""The paper of each family that has one."""

STATEMENTS: dict[str, tuple[Statement, ...]] = {
  paper.citation: paper.statements for paper in PAPERS.values() if paper.statements
}
"""What each paper says about the size and cost of networks."""

__all__ = [
  'PAPERS',
  'STATEMENTS',
  'Claim',
  'Paper',
  'PrintedRow',
  'ReportedError',
  'Statement',
  'digits',
  'extent',
  'mega',
]
