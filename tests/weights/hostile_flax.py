"""Flax checkpoints that lie: their content, and the expected message."""

import files
import numpy as np

HUGE = 2**40
ONE = np.ones(1, np.float32)
NO_ARRAY = r'params/a: no array; accepted: floating point arrays by name'


def array(shape, kind='float32', data=bytes(4)):
  return files.flax({'params': {'a': files.flax_array(shape, kind, data)}})


def packed(data):
  """A leaf whose extension contains `data` instead of shape, type and bytes."""
  return files.flax({'params': {'a': files.flax_extension(1, data)}})


def many_maps():
  """A quarter of a million empty maps in a megabyte: 16 MB as dictionaries, and more."""
  inner = files.flax({f'm{index}': b'\x80' for index in range(500)})
  return files.flax({f'm{index}': inner for index in range(500)})


HOSTILE = {
  'flax of other names': (files.flax({'params': {'a': ONE}}), 'tensors of no network.*params/a'),
  'flax of another network': (
    files.flax({'params': {'Dense_0': {'kernel': ONE}, 'ResNetBlock_0': {'kernel': ONE}}}),
    'missing: batch_stats/BatchNorm_0/mean.*not of this network: params/ResNetBlock_0/kernel',
  ),
  'flax of nothing': (files.flax({'params': {}}), r'tensors of no network.*first: none'),
  'flax too deep': (b'\x81\xa1a' * 10**6 + b'\x80', 'nested too deep'),
  'flax of 17 maps': (b'\x81\xa1a' * 17 + b'\xc0', 'nested too deep'),
  'flax of many maps': (many_maps(), 'more than the 10,000 tensors'),
  'flax map of 2**32': (b'\xdf' + b'\xff' * 4 + b'\xa1a\xc0', 'exceeds max_map_len'),
  'flax name of 2**32': (b'\x82\xa1a\xc0\xdb' + b'\xff' * 4, 'no Flax checkpoint'),
  'flax long name': (b'\x81\xa1a\xda\xff\xff' + b'x' * 65535, 'exceeds max_str_len'),
  'flax array of 2**32 bytes': (b'\x81\xa1a\xc9' + b'\xff' * 4 + b'\x01', 'no Flax checkpoint'),
  'flax list': (b'\x81\xa1a\xdd\x00\x0f\xff\xff' + b'\xc0' * 2**20, 'exceeds max_array_len'),
  'flax bytes': (b'\x81\xa1a\xc5\xff\xff' + bytes(65535), 'exceeds max_bin_len'),
  'flax and more': (files.flax({'params': {'a': ONE}}) + b'\xc0', 'extra data'),
  'flax number': (files.flax({'params': {'a': b'\x01'}}), NO_ARRAY),
  'flax time': (files.flax({'params': {'a': b'\xd6\xff' + bytes(4)}}), NO_ARRAY),
  'flax scalar': (files.flax({'params': {'a': files.flax_extension(3, b'')}}), NO_ARRAY),
  'flax key of a number': (b'\x82\xa1a\xc0\x01\xc0', 'no Flax checkpoint'),
  'flax key of bytes': (b'\x82\xa1a\xc0\xc4\x01b\xc0', 'key that is not a string'),
  'flax name of no text': (b'\x81\xa3a\xff\xfe\xc0', 'no Flax checkpoint'),
  'flax name twice': (b'\x82\xa1a\xc0\xa1a\xc0', 'the same name twice'),
  'flax name in two ways': (
    files.flax({'a': {'b/c': ONE}, 'a/b': {'c': ONE}}), 'two tensors have the name a/b/c',
  ),
  'flax control characters': (files.flax({'a\x1b[2J': b'\xc0'}), r'\\x1b\[2J'),
  'flax of whole numbers': (array((1,), 'int32'), 'type int32; accepted: floating point'),
  'flax of objects': (array((1,), 'O'), 'type O; accepted: floating point'),
  'flax of 2**40': (array((HUGE,)), '4 bytes for 1099511627776 values'),
  'flax of 2**120': (array((HUGE, HUGE, HUGE)), '4 bytes for 1099511627776x1099511627776x'),
  'flax of -1': (array((-1, -1)), 'no shape, type and bytes'),
  'flax of nine dimensions': (array((1,) * 9), 'exceeds max_array_len'),
  'flax array of a map': (packed(b'\x80'), 'no shape, type and bytes'),
  'flax array of names': (packed(b'\x93\xa1a\xa1a\xa1a'), 'no shape, type and bytes'),
  'flax array of numbers': (packed(b'\x93\x91\x01\x01\x01'), 'no shape, type and bytes'),
  'flax array without bytes': (packed(b'\x92\x91\x01\xa7float32'), 'no shape, type and bytes'),
  'flax array of lists': (packed(b'\x93' + b'\x98' * 500 + b'\x90' * 10**6), 'more than a shape'),
  'flax array of an array': (packed(b'\xc7\x01\x01\xc0'), 'exceeds max_ext_len'),
  'flax array of nothing': (packed(b''), 'no Flax checkpoint'),
}  # fmt: skip
