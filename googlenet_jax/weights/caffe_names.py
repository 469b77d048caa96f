"""Names of BVLC GoogLeNet's layers in Caffe, by ours."""

HEADS = {'4a': 'loss1/', '4d': 'loss2/'}
_BRANCHES = {
  'conv1x1': '1x1',
  'reduce_3x3': '3x3_reduce',
  'conv3x3': '3x3',
  'reduce_5x5': '5x5_reduce',
  'conv5x5': '5x5',
  'pool_proj': 'pool_proj',
}
_LAYERS = {
  'conv1': 'conv1/7x7_s2',
  'conv2_reduce': 'conv2/3x3_reduce',
  'conv2': 'conv2/3x3',
  'classifier': 'loss3/classifier',
}
_BLOBS = {'kernel': 0, 'bias': 1}


def rename(name: str) -> str:
  """`params/inception_3a/reduce_3x3/kernel` -> `inception_3a/3x3_reduce:0`; the bias is blob 1.

  A name that Caffe's network has no layer for is passed on.
  """
  _, _, path = name.partition('/')
  unit, _, leaf = path.rpartition('/')
  module, _, branch = unit.partition('/')
  if unit in _LAYERS:
    layer = _LAYERS[unit]
  elif branch in _BRANCHES:
    layer = f'{module}/{_BRANCHES[branch]}'
  else:
    layer = f'{HEADS.get(module.removeprefix("aux_"), module + "/")}{branch}'
  return f'{layer}:{_BLOBS.get(leaf, leaf)}'
