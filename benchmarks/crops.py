"""The cost of 10 and 144 crops of an image compared with 1, and where the time goes.

`python benchmarks/crops.py WEIGHTS.safetensors FOLDER`: contestants take turns, and the figures are
medians of `--rounds` runs over the same images. Then the parts of 144 crops are timed separately,
in one thread. Of the 144 crops of a square image, only 48 are different. Two sets of images are
used: each image as it is, and each without its lower quarter (4:3 if it is square).
"""

import argparse
import pathlib
import statistics
import time

from googlenet_jax import runtime

runtime.configure()

from googlenet_jax.data.crops import cut_views  # noqa: E402
from googlenet_jax.data.decode import decode_image  # noqa: E402
from googlenet_jax.evaluation.predict import find_images  # noqa: E402
from googlenet_jax.evaluation.scoring import score  # noqa: E402
from googlenet_jax.weights import bundle as bundles  # noqa: E402

CROPS = (1, 10, 144)


class Files:
  """Files as records, unchanged or without the lower quarter."""

  def __init__(self, files, landscape):
    self.files, self.landscape = files, landscape

  def __len__(self):
    return len(self.files)

  def __getitem__(self, index):
    image = decode_image(self.files[index].read_bytes(), str(self.files[index]))
    height = image.shape[0] * 3 // 4 if self.landscape else image.shape[0]
    return {'image': image[:height], 'label': 0, 'name': str(self.files[index])}


def seconds(work):
  """The wall-clock time of a call."""
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def main():
  """Prints the medians."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('weights', type=pathlib.Path)
  parser.add_argument('folder')
  parser.add_argument('--images', type=int, default=8)
  parser.add_argument('--rounds', type=int, default=3)
  options = parser.parse_args()
  bundle = bundles.load(options.weights)
  files = find_images([options.folder])[: options.images]
  for landscape in (False, True):
    records = Files(files, landscape)

    def run(crops, records=records):
      for _ in score([bundle], records, (crops,), batch_size=32):
        pass

    for crops in CROPS:
      run(crops)  # compiles
    times = {crops: [] for crops in CROPS}
    for _ in range(options.rounds):
      for crops in CROPS:
        times[crops].append(seconds(lambda crops=crops: run(crops)))
    each = {crops: statistics.median(found) / len(files) for crops, found in times.items()}
    images = [records[i]['image'] for i in range(len(files))]
    views = cut_views(images[0], (144,), image_size=224, resize=256).pixels
    print(f'{len(files)} images of {images[0].shape[1]} x {images[0].shape[0]}:', end=' ')
    print(f'{2 * len(views)} different crops of 144')
    for crops in CROPS:
      ratio = each[crops] / each[1]
      print(f'  {crops:>3} crops: {1000 * each[crops]:8.1f} ms an image, {ratio:6.1f} times 1 crop')
    read = seconds(lambda records=records: [records[i] for i in range(len(files))]) / len(files)
    sizes = {'image_size': 224, 'resize': 256}
    cut = seconds(lambda: [cut_views(image, (144,), **sizes) for image in images]) / len(files)  # noqa: B023
    print(f'  of 144: decode {1000 * read:.1f} ms, resize and cut {1000 * cut:.1f} ms, ', end='')
    print('the rest network and averaging')


if __name__ == '__main__':
  main()
