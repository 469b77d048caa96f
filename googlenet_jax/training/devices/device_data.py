"""A training split in device memory, so that a run transfers no images from the host.

This is for data sets that fit (digits, CIFAR-10), whose small images then train at the network's
speed. Order and augmentation are functions of seed and step, as on the host, but differ from the
host's because they use JAX's random numbers. Each epoch contains every image once; a batch may span
two epochs.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax.data.augment import Augmentation
from googlenet_jax.data.pipeline import OnBadImage, eval_batches
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.training.devices.parallelism import Batch, DataParallel

SHARE = 0.5
"""The share of a device's memory that images may use; the rest is left for the network."""


def check(augmentation: Augmentation, images: int, image_size: int, batch_size: int) -> None:
  """Raises a UserError that names the sizes or the key if the device cannot hold the split."""
  needed = images * image_size**2 * 3
  available = int(_device_memory() * SHARE)
  if needed > available:
    raise UserError(
      f'config.data.placement=device: {images:,} images of {image_size}x{image_size} take '
      f'{needed / 2**30:.2f} GiB of the {available / 2**30:.2f} GiB there are for them; '
      'accepted: host'
    )
  if batch_size > images:
    raise UserError(
      f'config.data.placement=device: batch_size={batch_size} is more than the {images} images; '
      'accepted: host'
    )
  wanted = dataclasses.replace(
    Augmentation(), crop=augmentation.crop, pad=augmentation.pad, flip=augmentation.flip
  )
  for key, value in vars(augmentation).items():
    if key in ('area', 'aspect'):  # these belong to the crop `area`, which is rejected below
      continue
    if value != getattr(wanted, key) or value == 'area':
      raise UserError(
        f'config.data.placement=device: data.augment.{key}={value} happens on the host alone; '
        'accepted on a device: crop none or pad, flip'
      )


def device_batches(
  split: Split,
  *,
  image_size: int,
  augmentation: Augmentation,
  batch_size: int,
  seed: int,
  start_step: int,
  threads: int,
  on_bad_image: OnBadImage = 'stop',
  parallel: DataParallel,
) -> Generator[Batch]:
  """Endless batches, drawn on the devices, starting at a step; see `pipeline.train_batches`."""
  images, labels = parallel.replicate(_load(split, image_size, threads, on_bad_image))
  count = len(labels)
  key = parallel.replicate(jax.random.key_data(jax.random.key(seed)))
  draw = parallel.compile_draw(
    functools.partial(_draw, augmentation=augmentation, batch_size=batch_size)
  )
  order_of = jax.jit(functools.partial(_order, count=count), out_shardings=parallel.replicated)
  # The place stays on the device too; the host keeps its own count to know when an epoch begins.
  place = parallel.replicate((np.int32(start_step), np.int32(start_step * batch_size % count)))
  epoch = None
  for step in itertools.count(start_step):
    if step * batch_size // count != epoch:
      epoch = step * batch_size // count
      order = order_of(key, parallel.replicate(np.int32(epoch)))
    batch, place = draw(images, labels, order, key, place)
    yield batch


def _load(
  split: Split, image_size: int, threads: int, on_bad_image: OnBadImage
) -> tuple[np.ndarray, np.ndarray]:
  """The whole split, resized: uint8[n, image_size, image_size, 3] and int32[n]."""
  batches = list(
    eval_batches(
      split,
      image_size=image_size,
      resize=image_size,
      batch_size=256,
      threads=threads,
      on_bad_image=on_bad_image,
    )
  )
  mask = np.concatenate([batch['mask'] for batch in batches])
  return (
    np.concatenate([batch['image'] for batch in batches])[mask],
    np.concatenate([batch['label'] for batch in batches])[mask],
  )


def _order(key: jax.Array, epoch: jax.Array, *, count: int) -> jax.Array:
  """The order of images in an epoch and in the next one: int32[2, count]."""

  def one(epoch: jax.Array) -> jax.Array:
    epoch_key = jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(key), 1), epoch)
    return jax.random.permutation(epoch_key, count)

  return jnp.stack([one(epoch), one(epoch + 1)])


def _draw(
  images: jax.Array,
  labels: jax.Array,
  order: jax.Array,
  key: jax.Array,
  place: tuple[jax.Array, jax.Array],
  *,
  augmentation: Augmentation,
  batch_size: int,
) -> tuple[dict[str, jax.Array], tuple[jax.Array, jax.Array]]:
  """The batch at a place, randomly padded, cropped and mirrored, and the next place.

  A place is a step and the position of its first image in the epoch in which the step begins.
  """
  step, offset = place
  count, size = images.shape[0], images.shape[1]
  positions = offset + jnp.arange(batch_size)
  chosen = order[positions // count, positions % count]
  picked = images[chosen]
  keys = jax.random.split(
    jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(key), 2), step), 2
  )
  if augmentation.crop == 'pad':
    pad = augmentation.pad
    padded = jnp.pad(picked, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corners = jax.random.randint(keys[0], (batch_size, 2), 0, 2 * pad + 1)
    picked = jax.vmap(
      lambda image, corner: lax.dynamic_slice(image, (*corner, 0), (size, size, 3))
    )(padded, corners)
  if augmentation.flip:
    mirrored = jax.random.bernoulli(keys[1], shape=(batch_size, 1, 1, 1))
    picked = jnp.where(mirrored, picked[:, :, ::-1], picked)
  batch = {'image': picked, 'label': labels[chosen]}
  return batch, (step + 1, (offset + batch_size) % count)


def _device_memory() -> int:
  """The memory of a device in bytes, or this machine's if the device does not report it."""
  stats: dict[str, Any] | None = jax.local_devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return int(stats['bytes_limit'])
  return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
