"""What `googlenet prepare` prints about a finished data set."""

import dataclasses
import pathlib

from googlenet_jax.data.prepare import PreparedData, describe

PREPARED = PreparedData(
  out=pathlib.Path('set'),
  images={'train': 1200, 'test': 80},
  counts={'train': [600, 600], 'test': [40, 40]},
  bad=[],
  written=1280,
  stored=3 * 2**20,
  mean=[0.0] * 3,
  std=[1.0] * 3,
  seconds=4.4,
)


def test_a_finished_data_set_is_described():
  assert describe(PREPARED) == '1,200 train, 80 test images, 3.0 MiB in 4 s: set'


def test_ten_bad_images_are_named_and_all_are_counted():
  prepared = dataclasses.replace(PREPARED, bad=[(f'{i}.png', 'truncated') for i in range(12)])
  lines = describe(prepared).splitlines()
  assert lines[1:11] == [f'left out: {i}.png: truncated' for i in range(10)]
  assert lines[11:] == [f'12 bad images in all, listed in {pathlib.Path("set", "bad.csv")}']
