"""Predictions of files, the pages that show them, and where a network looks."""

import base64
import html.parser
import re

import flax.linen as nn
import jax
import networks
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from googlenet_jax.data.crops import cut_views
from googlenet_jax.data.sources.files import read_file
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation import pages
from googlenet_jax.evaluation.explain import grad_cam, overlay
from googlenet_jax.evaluation.predict import Class, find_images, predict
from googlenet_jax.evaluation.scoring import score

LAST_MAP = 'inception_5b'  # GoogLeNet's, before its average pool


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / '사진 [1]'
  (root / 'sub').mkdir(parents=True)
  images = networks.split().records
  for i, name in enumerate(('b.png', 'a.PNG', 'sub/c.png', '<i>$x_1$.png')):
    Image.fromarray(images.pixels(i)).save(root / name)
  (root / 'list.txt').write_text('no image')
  return root


def test_files_folders_and_globs_each_once(folder):
  names = ['<i>$x_1$.png', 'a.PNG', 'b.png', 'sub/c.png']
  assert find_images([str(folder)]) == [folder / name for name in names]
  assert find_images([str(folder / 'b.png'), str(folder)])[0] == folder / 'b.png'
  assert len(find_images([str(folder / 'b.png'), str(folder)])) == 4
  plain = folder.rename(folder.with_name('plain'))
  assert find_images([f'{plain}/*.png']) == [plain / '<i>$x_1$.png', plain / 'b.png']
  assert find_images([f'{plain}/**/c.png']) == [plain / 'sub' / 'c.png']
  assert find_images([f'{plain}/s*']) == [plain / 'sub' / 'c.png']
  assert find_images([f'{plain}/absent.png']) == [plain / 'absent.png']
  with pytest.raises(UserError, match=r'\*\.webp: matches no image'):
    find_images([f'{plain}/*.webp'])
  (plain / 'empty').mkdir()
  with pytest.raises(UserError, match='empty: a folder without images'):
    find_images([f'{plain}/empty'])


def test_a_path_that_cannot_even_be_looked_up_is_one_file_that_cannot_be_read(folder):
  long = f'{folder.parent}/{"a" * 300}.jpg'
  bad: list[str] = []
  found = find_images([long, '~nobody-of-this-name/a.jpg'])
  assert not list(predict([networks.bundle(0)], found, batch_size=4, bad=bad))
  assert 'cannot be read: File name too long' in bad[0] and '~nobody' in bad[1]


def test_a_device_without_an_end_is_not_read(tmp_path):
  (tmp_path / 'a.png').symlink_to('/dev/null')  # the same kind of file, but one that ends
  with pytest.raises(UserError, match=r'a\.png: is a device'):
    read_file(tmp_path / 'a.png')


def test_the_five_likeliest_and_the_files_that_cannot_be_read(folder):
  (folder / '나쁜.jpg').write_bytes(b'\xff\xd8\xff')
  files = [folder / name for name in ('b.png', '나쁜.jpg', 'absent.png', 'a.PNG')]
  bundles = [networks.bundle(0), networks.bundle(1, resize=40, order='rgb')]
  bad: list[str] = []
  found = list(predict(bundles, files, batch_size=4, bad=bad))
  assert [one.file for one in found] == [files[0], files[3]]
  assert len(bad) == 2 and '나쁜.jpg' in bad[0] and 'absent.png: cannot be read' in bad[1]
  scored = score(bundles, networks.split().records, (1,), batch_size=4)
  for one, image in zip(found, scored, strict=False):
    mean = np.exp(image.log_probabilities['main'][:, 0]).mean(0)
    order = np.argsort(-mean)[:5]
    assert [c.label for c in one.classes] == order.tolist()
    assert [c.name for c in one.classes] == [networks.CLASSES[i] for i in order]
    np.testing.assert_allclose([c.probability for c in one.classes], mean[order], rtol=1e-5)


def test_grad_cam_is_the_gradient_that_a_backward_pass_finds():
  """Selvaraju et al., equations 1 and 2, with the gradient taken by JAX at the last module."""
  bundle = networks.bundle(0, family='googlenet')
  image = cut_views(networks.split().records.pixels(1), (1,), image_size=32, resize=37).pixels
  label = 1
  seen = {}

  def logit(shift):
    def tap(call, args, kwargs, context):
      out = call(*args, **kwargs)
      if context.module.name == LAST_MAP and context.method_name == '__call__':
        out = out + shift
        seen['output'] = out
      return out

    with nn.intercept_methods(tap):
      found = bundle.model.apply(bundle.variables, bundle.preprocessing.normalization(image)).logits
    return found[0, label], seen['output']

  shape = jax.eval_shape(logit, 0.0)[1].shape
  gradient, activations = jax.jit(jax.grad(logit, has_aux=True))(np.zeros(shape, np.float32))
  weights = gradient.mean((1, 2), keepdims=True)
  expected = np.maximum((weights * activations).sum(-1), 0)
  found = grad_cam(bundle, image, [label])
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
  assert found.max() > 0


def test_the_overlay_shows_a_class_on_the_crop_that_was_seen():
  bundle = networks.bundle(0, family='googlenet')
  image = networks.split().records.pixels(1)
  shown = [overlay([bundle], image, label) for label in range(len(networks.CLASSES))]
  assert all(one.shape == (32, 32, 3) and one.dtype == np.uint8 for one in shown)
  assert len({one.tobytes() for one in shown}) > 1
  crop = cut_views(image, (1,), image_size=32, resize=37).pixels[0]
  blue = np.array([0, 0, 128])  # nothing contributes to the class there
  for one, label in zip(shown, range(len(networks.CLASSES)), strict=True):
    if not grad_cam(bundle, crop[None], [label]).any():
      np.testing.assert_allclose(one, crop / 2 + blue / 2, atol=1)


ENTRIES = [
  pages.Entry(
    '<script>alert(1)</script> "$x$".png',
    [np.full((20, 30, 3), 200, np.uint8)],
    [Class('a & <b>b</b>', 0, 0.75), Class('개', 1, 0.2501)],
  ),
  pages.Entry('b.png', [np.zeros((30, 20, 3), np.uint8)] * 2, [Class('$\\frac{', 1, 1.0)]),
]


class Reader(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.tags, self.text, self.sources, self.widths = [], [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    values = dict(attrs)
    self.tags.append(tag)
    self.sources += [values['src']] if 'src' in values else []
    self.widths += re.findall('width:(.*)%', values.get('style', ''))

  def handle_data(self, data):
    self.text.append(data)


def test_a_page_holds_everything_and_runs_nothing(tmp_path):
  path = tmp_path / '쪽 1.html'
  pages.save(ENTRIES, path, 'net <1>')
  text = path.read_text(encoding='utf-8')
  page = Reader(text)
  assert not {'script', 'b', 'link'} & set(page.tags) and 'http' not in text
  assert {'net <1>', '<script>alert(1)</script> "$x$".png', 'a & <b>b</b>', '개'} <= set(page.text)
  assert page.widths == ['75.0', '25.0', '100.0'] and '25.0%' in page.text
  assert len(page.sources) == 3
  data = base64.b64decode(page.sources[0].removeprefix('data:image/jpeg;base64,'))
  assert simplejpeg.decode_jpeg(data).shape == (20, 30, 3)


def test_a_page_is_for_light_and_dark_and_says_what_its_colors_are(tmp_path):
  path = tmp_path / 'page.html'
  pages.save(ENTRIES, path, 'net')
  text = path.read_text(encoding='utf-8')
  assert '@media (prefers-color-scheme: dark)' in text
  assert 'from red (most) to blue' in text
  assert 'alt="the parts that count for the first class in b.png"' in text
  pages.save(ENTRIES[:1], path, 'net')
  assert '<p>' not in path.read_text(encoding='utf-8')


def test_the_end_of_a_long_name_stays_in_a_png():
  from matplotlib.figure import Figure

  axis = Figure().subplots()
  pages._bars(axis, ENTRIES[0]._replace(name=f'{"folder/" * 30}b.png'))
  title = axis.get_title('left')
  assert len(title) == 90 and title.startswith('...') and title.endswith('/folder/b.png')


def test_a_png_holds_every_image(tmp_path):
  path = tmp_path / 'page.png'
  pages.save(ENTRIES, path, 'net $\\frac')
  with Image.open(path) as picture:
    pixels = np.asarray(picture.convert('RGB'))
  assert picture.format == 'PNG'
  assert (pixels == 200).all(-1).sum() > 5000  # the gray image of the first row
  assert (pixels == (0x35, 0x67, 0xB0)).all(-1).sum() > 3000  # the bars


def test_a_page_that_cannot_be_is_refused_before_anything_is_computed(tmp_path):
  for path, images in (
    (tmp_path / 'a.jpg', 1),
    (tmp_path / 'absent' / 'a.png', 1),
    (tmp_path / 'a.png', 101),
  ):
    with pytest.raises(UserError, match=r'--out=.*accepted'):
      pages.check_path(path, images)


def test_thumbnails_are_small_whatever_the_image():
  assert pages.thumbnail(np.zeros((600, 900, 3), np.uint8)).shape == (224, 336, 3)
  assert pages.thumbnail(np.zeros((50, 30, 3), np.uint8)).shape == (50, 30, 3)
  assert pages.thumbnail(np.zeros((2, 5000, 3), np.uint8)).shape == (2, 8, 3)
