"""Decodes the bytes of an image file to RGB, or raises one error that names the file.

Files are read as follows:

- JPEG with libjpeg-turbo (simplejpeg) in strict mode: errors that libjpeg would only warn about,
  filling pixels with gray, are raised. CMYK and YCCK become RGB as (1 - ink) (1 - black), where
  the Adobe marker means that inks are stored inverted.
- PNG (after checking every chunk's CRC, which Pillow does not do for pixels), WebP, BMP, GIF, TIFF
  and PPM/PGM/PBM with Pillow, each only as the format that its first bytes indicate. Of animations
  and multi-page files, the first image is read.
- 16-bit samples keep their high byte (`>> 8`); palettes are looked up; alpha is blended onto white.
- EXIF orientation is ignored, as in ImageNet's published figures and the usual loaders: the pixels
  are as the camera stored them. (A TIFF's own orientation tag is part of the format and respected.)
  Color profiles and gamma are ignored too.

The checks have limits: JPEG, WebP, BMP, GIF, TIFF and PPM have no checksum of their pixels. A
flipped bit in a JPEG's scan is detected if decoding fails (an invalid code, too few or too many
blocks, bytes left over): 20% of single flipped bits in baseline files at quality 95, 12% with
optimized Huffman tables, 34% in progressive files (computed, 1,000 flips each over 40 photos). The
others decode to a different valid image, in most cases almost equal to the right one. A truncated
file is always detected, unless only bytes after the last pixel of a BMP or GIF are missing. Once a
data set is prepared, ArrayRecord's hashes protect its bytes.
"""

import io
import struct
import zlib

import numpy as np

from googlenet_jax.errors import UserError

MAX_PIXELS = 2**26
"""Images with more pixels (67 megapixels, 201 MB as RGB) are refused once their header is read."""

_SIGNATURES = (  # (Pillow's name of the format, offset, bytes there)
  ('JPEG', 0, b'\xff\xd8\xff'),
  ('PNG', 0, b'\x89PNG\r\n\x1a\n'),
  ('WEBP', 8, b'WEBP'),
  ('BMP', 0, b'BM'),
  ('GIF', 0, b'GIF87a'),
  ('GIF', 0, b'GIF89a'),
  ('TIFF', 0, b'II*\0'),
  ('TIFF', 0, b'MM\0*'),
  *(('PPM', 0, b'P%d' % kind) for kind in range(1, 7)),
)


class DecodeError(UserError):
  """An image file cannot be decoded; the message is `name` and `reason` in one line.

  Attributes:
    name: the caller's name for the file.
    reason: what is wrong with the file.
  """

  def __init__(self, name: str, reason: str):
    super().__init__(name, reason)  # Both in `args`, so that workers can pickle the error.
    self.name = name
    self.reason = reason

  def __str__(self) -> str:
    return f'{self.name}: {self.reason}'


def decode_image(data: bytes, name: str) -> np.ndarray:
  """Decodes one image file.

  Args:
    data: the whole file.
    name: the file's name in error messages.

  Returns:
    uint8[height, width, 3], RGB, contiguous and writable.

  Raises:
    DecodeError: the file is empty, truncated, corrupt, too large (`MAX_PIXELS`) or not supported.
  """
  kind = _sniff(data, name)
  if kind == 'JPEG':
    return _decode_jpeg(data, name)
  with _open(data, kind, name) as image:
    depth = _check_png(data, name) if kind == 'PNG' else None
    try:
      image.load()
      return _to_rgb(image, depth)
    except MemoryError:
      raise
    except Exception as error:  # Pillow's parsers raise errors of any kind.
      raise DecodeError(name, f'corrupt {kind}: {_one_line(error)}') from error


def image_size(data: bytes, name: str) -> tuple[int, int]:
  """Height and width in pixels from the header, with the same pixel limit as `decode_image`.

  Raises:
    DecodeError: the header is unreadable, or the image is too large.
  """
  kind = _sniff(data, name)
  if kind == 'JPEG':
    return _jpeg_header(data, name)[:2]
  with _open(data, kind, name) as image:
    return image.height, image.width


def _sniff(data, name):
  """The format that the first bytes indicate."""
  if not len(data):
    raise DecodeError(name, 'empty file')
  for kind, offset, signature in _SIGNATURES:
    if bytes(data[offset : offset + len(signature)]) == signature:
      return kind
  raise DecodeError(
    name, f'starts with {bytes(data[:8])!r}, unlike JPEG, PNG, WebP, BMP, GIF, TIFF or PPM'
  )


def _check_size(height, width, name):
  if height * width > MAX_PIXELS:
    raise DecodeError(name, f'{width} x {height} pixels, more than the {MAX_PIXELS:,} accepted')
  if height < 1 or width < 1:
    raise DecodeError(name, f'{width} x {height} pixels, at least 1 x 1 expected')


def _one_line(error):
  return ' '.join(str(error).split()) or type(error).__name__


# --- JPEG ---


def _jpeg_header(data, name):
  """(height, width, color space), after checking the size limit."""
  import simplejpeg

  try:
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
  except MemoryError:
    raise
  except Exception as error:
    raise DecodeError(name, f'corrupt JPEG header: {_one_line(error)}') from error
  _check_size(height, width, name)
  return int(height), int(width), space


def _decode_jpeg(data, name):
  import simplejpeg

  *_, space = _jpeg_header(data, name)
  ink = space in ('CMYK', 'YCCK')
  try:
    pixels = simplejpeg.decode_jpeg(data, 'CMYK' if ink else 'RGB', strict=True)
  except MemoryError:
    raise
  except Exception as error:
    raise DecodeError(name, f'corrupt JPEG: {_one_line(error)}') from error
  if not ink:
    return pixels
  return _paper_under_ink(pixels if _has_adobe_marker(data) else 255 - pixels)


def _has_adobe_marker(data):
  """Whether an APP14 'Adobe' segment precedes the scan; if so, 255 means no ink."""
  at = 2
  while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
    if data[at + 1] == 0xFF:  # A fill byte.
      at += 1
      continue
    if data[at + 1] == 0xEE and bytes(data[at + 4 : at + 9]) == b'Adobe':
      return True
    at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
  return False


def _paper_under_ink(light):
  """uint8[h, w, 4], the light that C, M, Y and K each let through -> uint8[h, w, 3], RGB."""
  product = light[..., :3].astype(np.uint16) * light[..., 3:]
  return ((product + 127) // 255).astype(np.uint8)


# --- everything else ---


def _check_png(data, name):
  """Checks that all chunks from IHDR to IEND are complete with valid CRCs -> the bit depth."""
  at, depth = 8, None
  while True:
    head = bytes(data[at : at + 8])
    if len(head) < 8:
      raise DecodeError(name, 'corrupt PNG: the file ends before its IEND chunk')
    length, kind = struct.unpack('>I4s', head)
    end = at + 12 + length
    if end > len(data):
      raise DecodeError(name, f'corrupt PNG: the file ends within its {kind!r} chunk')
    if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], 'big'):
      raise DecodeError(name, f'corrupt PNG: wrong CRC in its {kind!r} chunk')
    if depth is None:
      if kind != b'IHDR' or length != 13:
        raise DecodeError(name, 'corrupt PNG: no IHDR chunk at its start')
      depth = data[at + 16]
    if kind == b'IEND':
      return depth
    at = end


def _open(data, kind, name):
  """Opens an image of a format with Pillow and checks its size; pixels are not yet decoded."""
  from PIL import Image

  if kind == 'PNG' and len(data) >= 24:  # Before Pillow applies its own, higher limit.
    width, height = struct.unpack('>II', data[16:24])
    _check_size(height, width, name)
  try:
    image = Image.open(io.BytesIO(data), formats=[kind])
  except MemoryError:
    raise
  except Image.DecompressionBombError as error:  # Pillow's own limit, which is above ours.
    reason = f'more than the {MAX_PIXELS:,} pixels accepted ({_one_line(error)})'
    raise DecodeError(name, reason) from error
  except Image.UnidentifiedImageError as error:  # Its message is a memory address, not a reason.
    raise DecodeError(name, f'corrupt {kind} header') from error
  except Exception as error:
    raise DecodeError(name, f'corrupt {kind} header: {_one_line(error)}') from error
  try:
    _check_size(image.height, image.width, name)
  except DecodeError:
    image.close()
    raise
  return image


def _to_rgb(image, png_depth):
  """A loaded Pillow image of any mode with a clear meaning in RGB -> uint8[h, w, 3]."""
  mode = image.mode
  if mode.startswith('I;16') or (mode == 'I' and image.format in ('PNG', 'PPM')):
    return _sixteen_bit_gray(np.asarray(image), image.info.get('transparency'))
  if mode == 'CMYK':
    return _paper_under_ink(255 - np.asarray(image))
  if mode not in ('1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'YCbCr'):
    raise ValueError(f'pixels of mode {mode} have no fixed range; 8 or 16 bits expected')
  transparent = image.info.get('transparency')
  if mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or transparent is not None:
    if mode == 'L' and png_depth in (2, 4):  # Pillow scales pixels to 8 bits, but not this value.
      image.info['transparency'] = transparent * 255 // (2**png_depth - 1)
    if mode == 'RGB' and png_depth == 16:
      raise ValueError('a transparent color of 16-bit samples is not supported')
    return _onto_white(np.asarray(image.convert('RGBA')))
  return np.array(image.convert('RGB'))


def _sixteen_bit_gray(values, transparent):
  """integer[h, w] in 0..65535 -> the high byte, uint8[h, w, 3], with `transparent` as white."""
  if values.min() < 0 or values.max() > 65535:
    raise ValueError('gray values beyond 16 bits')
  gray = (values >> 8).astype(np.uint8)
  if transparent is not None:
    gray[values == transparent] = 255
  return np.repeat(gray[..., None], 3, axis=2)


def _onto_white(rgba):
  alpha = rgba[..., 3:].astype(np.uint16)
  blend = rgba[..., :3] * alpha + 255 * (255 - alpha)
  return ((blend + 127) // 255).astype(np.uint8)
