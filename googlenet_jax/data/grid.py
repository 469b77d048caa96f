"""A picture of the augmented images seen in training, with their labels."""

import itertools
import math
import pathlib

import numpy as np

from googlenet_jax.data.augment import Augmentation
from googlenet_jax.data.pipeline import train_batches
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError

CELL = 128  # minimum side of an image in the picture, in pixels
CAPTION = 18  # height of the line below it


def save_grid(
  split: Split,
  out: pathlib.Path,
  *,
  image_size: int,
  augmentation: Augmentation,
  images: int,
  seed: int,
) -> None:
  """Draws the first training images for a seed as one PNG or JPEG.

  Args:
    split: the images.
    out: the picture file; its suffix determines the format.
    image_size: side of an image in pixels; small images are enlarged by integer factors.
    augmentation: the random changes to an image.
    images: number of images.
    seed: random seed for order and augmentation, like `config.seed`.

  Raises:
    UserError: the picture cannot be written.
  """
  from PIL import Image, ImageDraw, ImageFont

  batches = train_batches(
    split,
    image_size=image_size,
    augmentation=augmentation,
    batch_size=images,
    seed=seed,
  )
  batch = next(itertools.islice(batches, 1))
  batches.close()
  scale = max(1, math.ceil(CELL / image_size))
  side = image_size * scale
  columns = math.ceil(math.sqrt(images * 1.5))
  rows = math.ceil(images / columns)
  gap = 6
  width, height = columns * (side + gap) + gap, rows * (side + CAPTION + gap) + gap
  sheet = Image.new('RGB', (width, height), 'white')
  draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
  for i, (pixels, label) in enumerate(zip(batch['image'], batch['label'], strict=True)):
    row, column = divmod(i, columns)
    left, top = gap + column * (side + gap), gap + row * (side + CAPTION + gap)
    enlarged = np.repeat(np.repeat(pixels, scale, 0), scale, 1)
    sheet.paste(Image.fromarray(enlarged), (left, top))
    draw.text((left, top + side + 2), split.classes[label][: side // 7], 'black', font)
  try:
    sheet.save(out)
  except (OSError, ValueError) as error:
    raise UserError(f'{out}: cannot be written: {" ".join(str(error).split())}') from error
