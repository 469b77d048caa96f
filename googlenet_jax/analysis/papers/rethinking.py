"""What 1512.00567 ("Rethinking the Inception architecture") says of networks before its own."""

from googlenet_jax.analysis.papers.paper import Statement

CITATION = '1512.00567'

STATEMENTS: tuple[Statement, ...] = (
  Statement(
    '1', 'GoogLeNet employed only 5 million parameters', 'params', 'googlenet/table1', factor=5e6
  ),
  Statement(
    '1',
    'a 12x reduction with respect to its predecessor AlexNet',
    'params',
    'googlenet/table1',
    ('alexnet/two_tower',),
    12,
    fewer=True,
  ),
  Statement(
    '1',
    'which used 60 million parameters',
    'params',
    'alexnet/two_tower',
    factor=60e6,
  ),
  Statement(
    '1',
    'VGGNet employed about 3 times more parameters than AlexNet',
    'params',
    'vgg/vgg16',
    ('alexnet/two_tower',),
    3,
    within=0.1,
  ),
)
