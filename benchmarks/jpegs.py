"""JPEGs for measurements, made from a seed with ImageNet's distribution of sizes.

Most have about 500 x 375 pixels, some have fewer, and a few up to 1600 x 1200 (mean 192,000
pixels). They are 4:2:0 at quality 95, about 110 KB on average. They show noise whose spectrum falls
off as 1/f^1.4, close to that of natural images, with contrast and grain that vary between images.
When shrunk to a short side of 256, they take as many bits per pixel as before, like photos.
"""

import numpy as np

from googlenet_jax.data import decode, geometry

# (width, height, share), based on the mean size and the most common formats of ILSVRC 2012
# (reported).
SIZES = (
  (500, 375, 0.40),
  (375, 500, 0.14),
  (500, 333, 0.18),
  (333, 500, 0.07),
  (500, 400, 0.05),
  (400, 300, 0.06),
  (320, 240, 0.04),
  (640, 480, 0.04),
  (800, 600, 0.015),
  (1600, 1200, 0.005),
)


def synthetic_jpegs(count: int, seed: int = 0) -> list[bytes]:
  """`count` JPEGs whose sizes are distributed as in `SIZES`, as closely as integers allow."""
  import simplejpeg

  rng = np.random.default_rng(seed)
  ends = np.cumsum([share for *_, share in SIZES])
  jpegs = []
  for place in rng.permutation((np.arange(count) + 0.5) / count):
    width, height, _ = SIZES[int(np.searchsorted(ends, place))]
    pixels = natural_noise(height, width, rng)
    jpegs.append(simplejpeg.encode_jpeg(pixels, 95, 'RGB', '420'))
  return jpegs


def natural_noise(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
  """uint8[height, width, 3]: brightness and weaker color with a falling spectrum, and grain."""
  across, down = np.fft.rfftfreq(width), np.fft.fftfreq(height)[:, None]
  falloff = (np.hypot(across, down) + 1 / max(height, width)) ** 1.4

  def field(deviation):
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / falloff
    values = np.fft.irfft2(spectrum, (height, width))
    return deviation * values / values.std()

  grain = rng.lognormal(0.8, 0.8) * rng.standard_normal((height, width))
  brightness = 120 + field(rng.uniform(20, 65)) + grain
  return np.stack([brightness + field(9) for _ in range(3)], -1).clip(0, 255).astype(np.uint8)


def shrink(jpegs: list[bytes], short_side: int, quality: int) -> list[bytes]:
  """The images with their shorter side reduced to `short_side`, as by `googlenet prepare`."""
  import simplejpeg

  shrunk = []
  for data in jpegs:
    pixels = decode.decode_image(data, 'benchmark')
    scale = min(1.0, short_side / min(pixels.shape[:2]))
    size = round(pixels.shape[0] * scale), round(pixels.shape[1] * scale)
    shrunk.append(simplejpeg.encode_jpeg(geometry.resize(pixels, size), quality, 'RGB', '420'))
  return shrunk
