"""Networks that are a single chain of layers, written independently from papers or published files.

A line is an operation, the module's name and its settings: `conv conv1 2 1` is a convolution with
stride 2 and one pixel of padding on each side, `max pool1 3` a 3x3 pool with stride 2.
"""


def vgg(*counts, norm=False, hidden=('fc fc6', 'fc fc7')):
  """Table 1 of 1409.1556: blocks of convolutions, each before a 2x2 pool."""
  chain = []
  for block, count in enumerate(counts, 1):
    for index in range(1, count + 1):
      chain.append(f'conv conv{block}_{index} 1 same')
      chain += ['norm norm1'] if norm and (block, index) == (1, 1) else []
    chain.append(f'max pool{block} 2')
  return [*chain, *hidden]


def zfnet(first, second):
  """Figure 3 of 1311.2901; pools come before normalization."""
  chain = [f'conv conv1 {first}', 'max pool1 3', 'norm norm1']
  chain += [f'conv conv2 {second}', 'max pool2 3', 'norm norm2']
  chain += [f'conv conv{number} 1 same' for number in (3, 4, 5)]
  return [*chain, 'max pool5 3', 'fc fc6', 'fc fc7']


def mlpconv(number, first, cccp, *end):
  """A convolution, whose output before the ReLU a head may use, and two 1x1 convolutions."""
  chain = [f'sums conv{number} {first}', f'head conv{number}', 'relu']
  return [*chain, *(f'conv cccp{i} 1 same' for i in cccp), *end]


def cnds(*stem):
  """8conv3fc_CNDS: the branch is on the second of the convolutions of 256 filters."""
  chain = [*stem, 'conv conv2 1 same', 'max pool2 2']
  for pool, pair in ((3, (3, 4)), (4, (5, 6)), (5, (7, 8))):
    for number in pair:
      chain += [f'conv conv{number} 1 same', *(['head conv4'] if number == 4 else [])]
    chain.append(f'max pool{pool} 2')
  return [*chain, 'fc fc9', 'fc fc10']


CIFAR = [
  *mlpconv(1, '1 same', (1, 2), 'max pool1 3', 'drop dropout1'),
  *mlpconv(2, '1 same', (3, 4), 'average pool2 3', 'drop dropout2'),
  *mlpconv(3, '1 same', (5,), 'maps'),
]
CHAINS = {
  ('vgg', 'vgg16'): vgg(2, 2, 3, 3, 3),
  ('vgg', 'vgg11'): vgg(1, 1, 2, 2, 2),
  ('vgg', 'vgg11_lrn'): vgg(1, 1, 2, 2, 2, norm=True),
  ('vgg', 'vgg13'): vgg(2, 2, 2, 2, 2),
  ('vgg', 'vgg16_1x1'): vgg(2, 2, 3, 3, 3),
  ('vgg', 'vgg19'): vgg(2, 2, 4, 4, 4),
  ('vgg', 'vgg11_bn'): vgg(1, 1, 2, 2, 2),
  ('vgg', 'vgg13_bn'): vgg(2, 2, 2, 2, 2),
  ('vgg', 'vgg16_bn'): vgg(2, 2, 3, 3, 3),
  ('vgg', 'vgg19_bn'): vgg(2, 2, 4, 4, 4),
  ('vgg', 'small'): vgg(2, 2, 3, 3, 3),
  ('vgg', 'compact'): vgg(2, 2, 2, 1, hidden=()),
  ('zfnet', 'figure3'): zfnet('2 1', '2 0'),
  ('zfnet', 'wide'): zfnet('2 1', '2 0'),
  ('zfnet', 'small'): zfnet('1 2', '1 2'),
  ('nin', 'imagenet'): [
    *mlpconv(1, '4 0', (1, 2), 'max pool1 3'),
    *mlpconv(2, '1 same', (3, 4), 'max pool2 3'),
    *mlpconv(3, '1 same', (5, 6), 'max pool3 3', 'drop dropout3'),
    *mlpconv(4, '1 same', (7,), 'maps'),
  ],
  ('nin', 'cifar'): CIFAR,
  ('dsn', 'cifar'): [x.replace('average', 'max').replace('maps', 'means') for x in CIFAR],
  ('cnds', 'cnn8'): cnds('conv conv1 2 1', 'max pool1 3'),
  ('cnds', 'small'): cnds('conv conv1 1 same'),
}
# Kernels other than 3x3 (and the 1x1 of `cccp`).
KERNELS = {
  ('vgg', 'vgg16_1x1'): {f'conv{block}_3': 1 for block in (3, 4, 5)},
  ('zfnet', 'figure3'): {'conv1': 7, 'conv2': 5},
  ('zfnet', 'wide'): {'conv1': 7, 'conv2': 5},
  ('zfnet', 'small'): {'conv1': 5, 'conv2': 5},
  ('nin', 'imagenet'): {'conv1': 11, 'conv2': 5},
  ('nin', 'cifar'): {'conv1': 5, 'conv2': 5},
  ('dsn', 'cifar'): {'conv1': 5, 'conv2': 5},
  ('cnds', 'cnn8'): {'conv1': 7},
}
PARAMETERS = {  # with 1,000 classes; torchvision documents those of VGG, except with batch norm
  ('vgg', 'vgg16'): 138_357_544,
  ('vgg', 'vgg11'): 132_863_336,
  ('vgg', 'vgg11_lrn'): 132_863_336,
  ('vgg', 'vgg13'): 133_047_848,
  ('vgg', 'vgg16_1x1'): 133_638_952,
  ('vgg', 'vgg19'): 143_667_240,
  # The documented counts minus biases before batch norm.
  ('vgg', 'vgg11_bn'): 132_868_840 - 2_752,
  ('vgg', 'vgg13_bn'): 133_053_736 - 2_944,
  ('vgg', 'vgg16_bn'): 138_365_992 - 4_224,
  ('vgg', 'vgg19_bn'): 143_678_248 - 5_504,
  ('vgg', 'small'): 15_757_224,
  # Kernels, scales and shifts, and a classifier of 2x2 positions.
  ('vgg', 'compact'): 9 * (3 * 24 + 24 * 64 + 64 * 64 + 64 * 216 + 3 * 216 * 216)
  + 2 * (24 + 2 * 64 + 4 * 216)
  + (4 * 216 + 1) * 1_000,
  ('zfnet', 'figure3'): 62_357_608,
  ('zfnet', 'wide'): 107_627_624,
  ('zfnet', 'small'): 41_379_176,
  ('nin', 'imagenet'): 7_595_176,
  ('nin', 'cifar'): 1_158_056,
  ('dsn', 'cifar'): 1_158_056,
  ('cnds', 'cnn8'): 63_665_000,
  ('cnds', 'small'): 11_045_224,
}
