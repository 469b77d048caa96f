"""data/decode.py: correct pixels from every accepted kind of file, one error type for the rest."""

import io
import itertools
import pathlib
import pickle
import struct
import subprocess
import sys
import zlib

import hypothesis
import numpy as np
import pytest
import simplejpeg
from hypothesis import strategies as st
from PIL import Image

from googlenet_jax.data import decode
from googlenet_jax.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def photo_like(height, width, channels=3, seed=0):
  """uint8[h, w, channels]: smooth waves with a little noise, which JPEG keeps well."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:height, :width]
  waves = [np.sin(x / (9 + 4 * c) + c) + np.cos(y / (7 + 3 * c)) for c in range(channels)]
  noise = rng.normal(0, 3, (height, width, channels))
  return (127 + 55 * np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8)


def encode(pixels, kind, **options):
  image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def png(width, height, depth, color_type, rows, *extra):
  """A PNG by hand; `rows` are the packed scanlines without filter bytes, `extra` more chunks."""

  def chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

  header = struct.pack('>IIBBBBB', width, height, depth, color_type, 0, 0, 0)
  pixels = zlib.compress(b''.join(b'\0' + row for row in rows))
  chunks = [(b'IHDR', header), *extra, (b'IDAT', pixels), (b'IEND', b'')]
  return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*each) for each in chunks)


IMAGE = photo_like(37, 53)
FILES = {
  'jpeg 4:2:0': encode(IMAGE, 'JPEG', quality=90),
  'jpeg 4:4:4': encode(IMAGE, 'JPEG', quality=90, subsampling=0),
  'jpeg gray': encode(IMAGE[..., 0], 'JPEG', quality=90),
  'jpeg progressive': encode(IMAGE, 'JPEG', quality=90, progressive=True),
  'jpeg restarts': encode(IMAGE, 'JPEG', quality=90, restart_marker_rows=1),
  'png': encode(IMAGE, 'PNG'),
  'webp lossless': encode(IMAGE, 'WEBP', lossless=True),
  'webp': encode(IMAGE, 'WEBP'),
  'bmp': encode(IMAGE, 'BMP'),
  'gif': encode(IMAGE, 'GIF'),
  'tiff': encode(IMAGE, 'TIFF'),
  'tiff lzw': encode(IMAGE, 'TIFF', compression='tiff_lzw'),
  'ppm': encode(IMAGE, 'PPM'),
  'pgm': encode(IMAGE[..., 0], 'PPM'),
}
every_file = pytest.mark.parametrize('data', FILES.values(), ids=FILES.keys())


def outcome(data):
  """The pixels, or None if decoding raises a DecodeError."""
  try:
    return decode.decode_image(data, 'a/b.img')
  except decode.DecodeError as error:
    assert str(error).startswith('a/b.img: ') and '\n' not in str(error)
    return None


# --- right pixels ---


@every_file
def test_gives_writable_rgb_of_the_size_in_the_header(data):
  pixels = decode.decode_image(data, 'x')
  assert pixels.shape == (37, 53, 3) and pixels.dtype == np.uint8
  assert pixels.flags.c_contiguous and pixels.flags.writeable
  assert decode.image_size(data, 'x') == (37, 53)


@pytest.mark.parametrize('kind', ['png', 'webp lossless', 'bmp', 'tiff', 'tiff lzw', 'ppm'])
def test_lossless_files_come_back_exactly(kind):
  np.testing.assert_array_equal(decode.decode_image(FILES[kind], 'x'), IMAGE)


def test_gray_files_get_three_equal_channels():
  gray = np.repeat(IMAGE[..., :1], 3, axis=2)
  np.testing.assert_array_equal(decode.decode_image(FILES['pgm'], 'x'), gray)
  jpeg = decode.decode_image(FILES['jpeg gray'], 'x')
  assert (jpeg == jpeg[..., :1]).all() and abs(jpeg.astype(int) - gray).max() < 12


@pytest.mark.parametrize('kind', ['jpeg 4:2:0', 'jpeg 4:4:4', 'jpeg progressive', 'jpeg restarts'])
def test_jpeg_is_near_its_source_and_as_pillow_decodes_it(kind):
  pixels = decode.decode_image(FILES[kind], 'x').astype(int)
  assert abs(pixels - IMAGE).mean() < 4
  reference = np.asarray(Image.open(io.BytesIO(FILES[kind])), int)
  assert abs(pixels - reference).max() <= 1


def test_real_photos_are_as_pillow_decodes_them(shared_data):
  paths = sorted((shared_data / 'photos').glob('*.jpg'))
  assert len(paths) == 40
  for path in paths:
    data = path.read_bytes()
    reference = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'), int)
    assert abs(decode.decode_image(data, path.name) - reference).max() <= 1
    assert decode.image_size(data, path.name) == reference.shape[:2]


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF', 'PPM'])
def test_one_pixel(kind):
  data = encode(np.full((1, 1, 3), 200, np.uint8), kind)
  assert abs(decode.decode_image(data, 'x').astype(int) - 200).max() <= 1
  assert decode.image_size(data, 'x') == (1, 1)


def ink_as_rgb(ink):
  """float[h, w, 4], 0 = no ink, 255 = full -> RGB by the definition, in floats."""
  light = 1 - np.asarray(ink, float) / 255
  return 255 * light[..., :3] * light[..., 3:]


INK = photo_like(48, 64, 4, seed=1)


@pytest.mark.parametrize('writer', ['Adobe CMYK', 'Adobe YCCK', 'CMYK without a marker'])
def test_cmyk_jpeg_becomes_the_color_of_its_ink(writer):
  if writer == 'Adobe YCCK':
    data = simplejpeg.encode_jpeg(255 - INK, quality=100, colorspace='CMYK')
  else:
    data = encode(Image.fromarray(INK, 'CMYK'), 'JPEG', quality=100, subsampling=0)
  assert simplejpeg.decode_jpeg_header(data)[2] == ('YCCK' if 'YCCK' in writer else 'CMYK')
  ink = np.asarray(Image.open(io.BytesIO(data)))  # Pillow always takes CMYK as Adobe stores it.
  if writer == 'CMYK without a marker':
    start = data.index(b'\xff\xee\x00\x0eAdobe')
    data = data[:start] + data[start + 16 :]
    ink = 255 - ink
  pixels = decode.decode_image(data, 'x')
  assert abs(pixels - ink_as_rgb(ink)).max() <= 0.5
  if writer != 'CMYK without a marker':
    assert abs(pixels - ink_as_rgb(INK)).mean() < 2


def test_cmyk_tiff_becomes_the_color_of_its_ink():
  pixels = decode.decode_image(encode(Image.fromarray(INK, 'CMYK'), 'TIFF'), 'x')
  assert abs(pixels - ink_as_rgb(INK)).max() <= 0.5


def test_sixteen_bit_gray_keeps_its_high_byte():
  values = np.array([[0, 255, 256], [32767, 40000, 65535]], '>u2')
  expected = np.repeat([[[0], [0], [1]], [[127], [156], [255]]], 3, axis=2)
  rows = [row.tobytes() for row in values]
  np.testing.assert_array_equal(decode.decode_image(png(3, 2, 16, 0, rows), 'x'), expected)
  pgm = b'P5 3 2 65535\n' + values.tobytes()
  np.testing.assert_array_equal(decode.decode_image(pgm, 'x'), expected)
  tiff = encode(Image.fromarray(values.astype(np.uint16)), 'TIFF')
  np.testing.assert_array_equal(decode.decode_image(tiff, 'x'), expected)


def test_sixteen_bit_rgb_keeps_its_high_bytes():
  values = np.array([0, 255, 256, 32767, 40000, 65535], '>u2')
  pixels = decode.decode_image(png(2, 1, 16, 2, [values.tobytes()]), 'x')
  np.testing.assert_array_equal(pixels, [[[0, 0, 1], [127, 156, 255]]])


@pytest.mark.parametrize(
  ('depth', 'row', 'grays', 'transparent'),
  [
    (1, b'\x50', [0, 255, 0, 255], 0),
    (2, b'\x1b', [0, 85, 170, 255], 2),
    (4, b'\x01\x2f', [0, 17, 34, 255], 2),
    (8, b'\x01\x02\x03\x04', [1, 2, 3, 4], 3),
    (16, b'\x01\x00\x02\x00\x02\x01\x04\x00', [1, 2, 2, 4], 0x0201),
  ],
)
def test_gray_png_of_any_depth_with_and_without_a_transparent_value(depth, row, grays, transparent):
  plain = decode.decode_image(png(4, 1, depth, 0, [row]), 'x')
  assert plain[0, :, 0].tolist() == grays
  chunk = (b'tRNS', struct.pack('>H', transparent))
  raw = [*range(4)] if depth != 16 else [0x100, 0x200, 0x201, 0x400]
  raw = {1: [0, 1, 0, 1], 4: [0, 1, 2, 15], 8: [1, 2, 3, 4]}.get(depth, raw)
  seen = [255 if value == transparent else gray for value, gray in zip(raw, grays, strict=True)]
  onto_white = decode.decode_image(png(4, 1, depth, 0, [row], chunk), 'x')
  assert onto_white.tolist() == [[[value] * 3 for value in seen]]


def test_palette_and_its_transparency():
  palette = (b'PLTE', bytes([10, 20, 30, 200, 100, 0, 0, 0, 0]))
  row = bytes([0, 1, 2])
  plain = decode.decode_image(png(3, 1, 8, 3, [row], palette), 'x')
  assert plain.tolist() == [[[10, 20, 30], [200, 100, 0], [0, 0, 0]]]
  alpha = (b'tRNS', bytes([255, 51, 0]))  # 51 is one fifth.
  blended = decode.decode_image(png(3, 1, 8, 3, [row], palette, alpha), 'x')
  assert blended.tolist() == [[[10, 20, 30], [244, 224, 204], [255, 255, 255]]]


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'TIFF'])
def test_alpha_goes_onto_white(kind):
  rgba = np.random.default_rng(2).integers(0, 256, (40, 40, 4), dtype=np.uint8)
  options = {'lossless': True, 'exact': True} if kind == 'WEBP' else {}
  alpha = rgba[..., 3:] / 255
  expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
  pixels = decode.decode_image(encode(rgba, kind, **options), 'x')
  assert abs(pixels - expected).max() <= 0.5


def test_gray_with_alpha_goes_onto_white():
  rows = [bytes([100, 255, 100, 0, 0, 51])]
  pixels = decode.decode_image(png(3, 1, 8, 4, rows), 'x')
  assert pixels[0].tolist() == [[100] * 3, [255] * 3, [204] * 3]


def test_animations_give_their_first_image():
  first, second = (Image.fromarray(np.full((8, 9, 3), value, np.uint8)) for value in (30, 220))
  for kind, options in (('GIF', {}), ('WEBP', {'lossless': True}), ('TIFF', {})):
    data = encode(first, kind, save_all=True, append_images=[second], **options)
    assert (decode.decode_image(data, 'x') == 30).all()


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
def test_exif_orientation_is_ignored(kind):
  exif = Image.Exif()
  exif[0x0112] = 6  # "Rotate by 90 degrees to view."
  plain, turned = encode(IMAGE, kind), encode(IMAGE, kind, exif=exif)
  assert turned != plain
  np.testing.assert_array_equal(decode.decode_image(turned, 'x'), decode.decode_image(plain, 'x'))
  assert decode.image_size(turned, 'x') == (37, 53)


def test_tiff_obeys_its_orientation_in_pixels_and_size():
  data = encode(IMAGE, 'TIFF', tiffinfo={0x0112: 6})
  np.testing.assert_array_equal(decode.decode_image(data, 'x'), np.rot90(IMAGE, -1))
  assert decode.image_size(data, 'x') == (53, 37)


# --- faults ---


@pytest.mark.filterwarnings('ignore:.*:UserWarning:PIL')
@every_file
def test_a_cut_file_is_never_garbage(data, capfd):
  whole = decode.decode_image(data, 'x')
  near_end = range(len(data) - 30, len(data))
  cuts = {*range(0, min(len(data), 700), 3), *range(0, len(data), 41), *near_end}
  for end in sorted(cuts):
    pixels = outcome(data[:end])
    assert pixels is None or np.array_equal(pixels, whole), f'garbage from the first {end} bytes'
  capfd.readouterr()  # libtiff writes to stderr by itself.


@pytest.mark.parametrize('kind', [kind for kind in FILES if kind.startswith(('jpeg', 'png'))])
def test_a_cut_jpeg_or_png_is_always_found(kind):
  data = FILES[kind]
  found = [outcome(data[:end]) is None for end in range(len(data))]
  assert all(found)


def test_every_changed_byte_of_a_png_is_found():
  data = FILES['png']
  rng = np.random.default_rng(0)
  for at in range(len(data)):
    changed = bytearray(data)
    changed[at] ^= int(rng.integers(1, 256))
    assert outcome(bytes(changed)) is None, f'byte {at}'


def test_changed_bits_of_a_jpeg_are_found_or_decode_to_an_image():
  # JPEG has no checksum: the docstring of decode.py says what strict decoding finds.
  rng = np.random.default_rng(0)
  data = encode(photo_like(120, 160), 'JPEG', quality=93)
  found = 0
  for _ in range(200):
    changed = bytearray(data)
    changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    pixels = outcome(bytes(changed))
    found += pixels is None
    assert pixels is None or (pixels.ndim == 3 and pixels.shape[2] == 3)
  assert found >= 20


def test_what_libjpeg_only_warns_about_is_refused():
  data = FILES['jpeg 4:2:0']
  middle = data.rindex(b'\xff\xda') + 200
  with pytest.raises(decode.DecodeError, match='corrupt JPEG'):
    decode.decode_image(data[:middle] + b'\xff\xd9', 'x')
  assert np.asarray(Image.open(io.BytesIO(data[:middle] + b'\xff\xd9'))).shape  # Pillow: gray.


@pytest.mark.filterwarnings('ignore:.*:UserWarning:PIL')
@pytest.mark.parametrize(
  'data',
  [
    b'',
    b'\xff',
    b'<html><body>404 Not Found</body></html>',
    b'PK\x03\x04' + bytes(60),
    b'\0\0\0\x18ftypheic' + bytes(60),
    b'RIFF\x24\0\0\0WAVEfmt ' + bytes(40),
    b'\x89PNG\r\n\x1a\n',
    b'\xff\xd8\xff\xe0',
    b'\xff\xd8\xff\xd9',
    b'BM',
    b'GIF89a',
    b'II*\0\x08\0\0\0',
    b'P6',
    FILES['png'][:8] + FILES['png'][33:],
  ],
)
def test_foreign_and_empty_files_are_named(data):
  for read in (decode.decode_image, decode.image_size):
    with pytest.raises(UserError, match=r'^train/n01\.tar/x\.JPEG: ') as caught:
      read(data, 'train/n01.tar/x.JPEG')
    assert isinstance(caught.value, decode.DecodeError)
    assert ' at 0x' not in str(caught.value)  # Reports of the same fault are the same text.


def test_samples_without_a_fixed_range_are_refused():
  for values in (np.ones((4, 4), np.float32), np.ones((4, 4), np.int32)):
    with pytest.raises(decode.DecodeError, match='no fixed range'):
      decode.decode_image(encode(Image.fromarray(values), 'TIFF'), 'x')


def test_the_error_survives_pickling():
  error = pickle.loads(pickle.dumps(decode.DecodeError('a.jpg', 'cut')))
  assert (error.name, error.reason, str(error)) == ('a.jpg', 'cut', 'a.jpg: cut')


@pytest.mark.filterwarnings('ignore:.*:UserWarning:PIL')
@pytest.mark.parametrize('signature', sorted({data[:12] for data in FILES.values()}))
@hypothesis.settings(max_examples=30)
@hypothesis.given(rest=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(signature, rest):
  outcome(signature + rest)


# --- size limits ---


def declaring(kind, width, height):
  """A small file of a kind whose header declares width x height pixels."""
  if kind == 'PNG':
    return png(width, height, 8, 2, [b'\0' * 300])
  if kind == 'JPEG':
    data = bytearray(FILES['jpeg 4:2:0'])
    at = data.index(b'\xff\xc0')
    data[at + 5 : at + 9] = struct.pack('>HH', height, width)
  elif kind == 'GIF':
    data = bytearray(FILES['gif'])
    data[6:10] = struct.pack('<HH', width, height)
  elif kind == 'BMP':
    data = bytearray(FILES['bmp'])
    data[18:26] = struct.pack('<II', width, height)
  elif kind == 'PPM':
    return b'P6 %d %d 255\n' % (width, height) + bytes(300)
  elif kind == 'WEBP':
    canvas = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    body = b'WEBPVP8X' + struct.pack('<II', 10, 0) + canvas + FILES['webp'][12:]
    return b'RIFF' + struct.pack('<I', len(body)) + body
  elif kind == 'TIFF':
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (279, 100))
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(300)
  return bytes(data)


KINDS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF', 'PPM')
BOMBS = {kind: declaring(kind, 50000, 50001) for kind in KINDS}


@pytest.mark.parametrize('kind', KINDS)
def test_a_bomb_is_refused_by_its_size_and_the_limit(kind):
  data = BOMBS[kind]
  assert len(data) < 10_000
  size = '50000 x 50001' if kind in ('JPEG', 'PNG') else '2500050000 pixels'  # Pillow's words.
  for read in (decode.decode_image, decode.image_size):
    with pytest.raises(decode.DecodeError, match='67,108,864') as caught:
      read(data, 'bomb')
    assert size in str(caught.value)


def test_a_header_that_is_no_bomb_gets_past_the_limit():
  # Otherwise the bombs above could be refused for another fault in them.
  for kind in KINDS:
    assert decode.image_size(declaring(kind, 53, 37), 'x') == (37, 53)


def test_bombs_take_no_memory(tmp_path):
  (tmp_path / 'bombs').write_bytes(pickle.dumps(list(BOMBS.values())))
  (tmp_path / 'fine').write_bytes(pickle.dumps(list(FILES.values())))
  script = f"""
import pickle, resource
from googlenet_jax.data import decode
def read(name):
  for data in pickle.load(open({str(tmp_path)!r} + '/' + name, 'rb')):
    try:
      decode.decode_image(data, name)
    except decode.DecodeError as error:
      assert name == 'bombs', error
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = read('fine')
print(read('bombs') - before)
"""
  ran = subprocess.run(
    [sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert int(ran.stdout) < 8 * 1024  # KiB; one byte per pixel would be 2.5 GB.


def test_the_limit_is_inclusive(monkeypatch):
  pixels = np.zeros((10, 10, 3), np.uint8)
  files = [encode(pixels, kind) for kind in KINDS]
  for limit, data in itertools.product((99, 100), files):
    monkeypatch.setattr(decode, 'MAX_PIXELS', limit)
    assert (outcome(data) is None) == (limit == 99)
