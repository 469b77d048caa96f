"""Names of torchvision's `googlenet` state dict, by ours."""

HEADS = {'4a': 'aux1.', '4d': 'aux2.'}
COUNTER = '.num_batches_tracked'
"""Ends the names of integers beside batch statistics that no inference reads."""

_BRANCHES = {
  'conv1x1': 'branch1',
  'reduce_3x3': 'branch2.0',
  'conv3x3': 'branch2.1',
  'reduce_5x5': 'branch3.0',
  'conv5x5': 'branch3.1',
  'pool_proj': 'branch4.1',
}
_UNITS = {'conv1': 'conv1', 'conv2_reduce': 'conv2', 'conv2': 'conv3', 'conv': 'conv'}
_LINEAR = {'classifier': 'fc'}
_HEAD_LINEAR = {'fc': 'fc1', 'classifier': 'fc2'}
_LEAVES = {
  'kernel': 'conv.weight',
  'bias': 'conv.bias',
  'bn/scale': 'bn.weight',
  'bn/bias': 'bn.bias',
  'bn/mean': 'bn.running_mean',
  'bn/var': 'bn.running_var',
}


def rename(name: str) -> str:
  """`params/inception_3a/reduce_3x3/kernel` -> `inception3a.branch2.0.conv.weight`, and so on.

  A name that torchvision's network has no layer for is passed on.
  """
  _, _, path = name.partition('/')
  head, prefix = '', ''
  if path.startswith('aux_'):
    head, _, path = path.partition('/')
    prefix = HEADS.get(head.removeprefix('aux_'), f'{head}.')
  elif path.startswith('inception_'):
    module, _, path = path.partition('/')
    prefix = f'inception{module.removeprefix("inception_")}.'
  unit, _, leaf = path.partition('/')
  linear = (_HEAD_LINEAR if head else _LINEAR).get(unit)
  if linear:
    return f'{prefix}{linear}.{"weight" if leaf == "kernel" else leaf}'
  return f'{prefix}{_BRANCHES.get(unit) or _UNITS.get(unit, unit)}.{_LEAVES.get(leaf, leaf)}'
