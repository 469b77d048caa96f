"""Places: local paths, and URLs of objects in a bucket."""

import dataclasses
import pathlib

from googlenet_jax.errors import UserError

DRIVERS = {'s3': 's3fs', 'gs': 'gcsfs'}
"""The package that gives access to each scheme."""
EXTRAS = {'s3': 's3', 'gs': 'gcs'}
"""The extra that installs each scheme's package."""


@dataclasses.dataclass(frozen=True)
class Url:
  """The location of objects, such as `s3://bucket/runs/x`; joined by `/` like paths."""

  scheme: str
  bucket: str
  parts: tuple[str, ...] = ()

  def __truediv__(self, name: str) -> 'Url':
    return dataclasses.replace(self, parts=(*self.parts, *name.split('/')))

  def __str__(self) -> str:
    return '/'.join([f'{self.scheme}:/', self.bucket, *self.parts])

  @property
  def name(self) -> str:
    """The last part."""
    return self.parts[-1] if self.parts else self.bucket

  @property
  def parent(self) -> 'Url':
    """The URL without its last part."""
    return dataclasses.replace(self, parts=self.parts[:-1])


Place = pathlib.Path | Url


def place(text: str) -> Place:
  """Parses a flag whose value is a path or a URL; a URL is not checked until it is used."""
  scheme, found, rest = text.partition('://')
  if not found or '/' in scheme:
    return pathlib.Path(text)
  bucket, *parts = rest.split('/')
  return Url(scheme, bucket, tuple(part for part in parts if part))


def check(url: Url) -> None:
  """Raises a UserError that names what is accepted if a URL cannot be used."""
  if url.scheme not in DRIVERS:
    accepted = ', '.join(f'{scheme}://' for scheme in DRIVERS)
    raise UserError(f'{url}: unknown scheme; accepted: {accepted}, or a local path')
  if not url.bucket or {'.', '..'} & {url.bucket, *url.parts}:
    raise UserError(f'{url}: accepted: {url.scheme}://BUCKET/PATH')
