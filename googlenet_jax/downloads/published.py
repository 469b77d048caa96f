"""The table of published files: their addresses, their checksums, and the checksums' sources.

Files without a published checksum are not included. torchvision's file names contain the first
eight digits of the SHA-256, and torch.hub compares no more than these (`check_hash`).
"""

import dataclasses
from typing import Literal

_TFDS = 'tensorflow_datasets 4.9.10'


@dataclasses.dataclass(frozen=True)
class Published:
  """A file published by somebody else.

  Attributes:
    url: its address.
    checksum: the algorithm and all or the first hexadecimal digits, such as `sha256:1378be20`.
    checksum_of: where the checksum is published.
    kind: `weights`, or for images the kind of source that they are for `googlenet prepare` after
      decompression.
    experiment: the experiment file in the repository that trains on the images; '' for none.
  """

  url: str
  checksum: str
  checksum_of: str
  kind: Literal['weights', 'cifar', 'archive']
  experiment: str = ''

  @property
  def file(self) -> str:
    """The name of the file, without folders."""
    return self.url.rpartition('/')[2]


def _torchvision(file: str) -> Published:
  digits = file.rpartition('-')[2].removesuffix('.pth')
  return Published(
    f'https://download.pytorch.org/models/{file}',
    f'sha256:{digits}',
    'its name, torchvision 0.29.1, IMAGENET1K_V1',
    'weights',
  )


def _imagenette(file: str, sha256: str) -> Published:
  return Published(
    f'https://s3.amazonaws.com/fast-ai-imageclas/{file}',
    f'sha256:{sha256}',
    f'{_TFDS}, datasets/imagenette/checksums.tsv',
    'archive',
    'experiments/imagenette.py',
  )


PUBLISHED: dict[str, Published] = {
  'cifar10': Published(
    'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    'sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
    f'{_TFDS}, url_checksums/cifar10.txt',
    'cifar',
    'experiments/cifar10.py',
  ),
  'cifar100': Published(
    'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    'sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
    f'{_TFDS}, url_checksums/cifar100.txt',
    'cifar',
    'experiments/cifar10.py',
  ),
  # Named by the length of the shorter side; the experiment crops 128x128 pixels from 160.
  'imagenette': _imagenette(
    'imagenette2-160.tgz', '64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5'
  ),
  'imagenette-320': _imagenette(
    'imagenette2-320.tgz', '569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c'
  ),
  'imagenette-full': _imagenette(
    'imagenette2.tgz', '6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd'
  ),
  'flowers': Published(
    'http://download.tensorflow.org/example_images/flower_photos.tgz',
    'sha256:4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c',
    f'{_TFDS}, datasets/tf_flowers/checksums.tsv',
    'archive',
  ),
  'bvlc': Published(
    'http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel',
    'sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204',
    'BVLC/caffe, models/bvlc_googlenet/readme.md',
    'weights',
  ),
  'torchvision-googlenet': _torchvision('googlenet-1378be20.pth'),
  'torchvision-alexnet': _torchvision('alexnet-owt-7be5be79.pth'),
  'torchvision-vgg11': _torchvision('vgg11-8a719046.pth'),
  'torchvision-vgg13': _torchvision('vgg13-19584684.pth'),
  'torchvision-vgg16': _torchvision('vgg16-397923af.pth'),
  'torchvision-vgg16_bn': _torchvision('vgg16_bn-6c64b313.pth'),
  'torchvision-vgg19': _torchvision('vgg19-dcbb9e9d.pth'),
  'torchvision-vgg19_bn': _torchvision('vgg19_bn-c79401a0.pth'),
  'torchvision-resnet18': _torchvision('resnet18-f37072fd.pth'),
  'torchvision-resnet34': _torchvision('resnet34-b627a593.pth'),
  'torchvision-resnet50': _torchvision('resnet50-0676ba61.pth'),
  'torchvision-resnet101': _torchvision('resnet101-63fe2227.pth'),
  'torchvision-resnet152': _torchvision('resnet152-394f9c45.pth'),
  'torchvision-inception_v3': _torchvision('inception_v3_google-0cc3c7bd.pth'),
}
"""The published files, by their names in `googlenet download`."""
