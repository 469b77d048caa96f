"""What the site needs beyond Markdown: pictures that follow the theme, and no links to the code."""

import pathlib
import re

from mkdocs.exceptions import PluginError

_PICTURE = re.compile(
  r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">'
  r'\s*<img alt="(?P<alt>[^"]*)" src="(?P<light>[^"]+)">\s*</picture>'
)
_OUTSIDE = re.compile(r'\[(?P<text>[^]]*)\]\((?P<path>\.\./[^)#]+)\)')


def on_page_markdown(markdown, page, config, files):
  """Markdown of a page as the site wants it.

  On GitHub a picture follows the system's light or dark mode; here it follows the theme, which a
  reader can switch. Links to files outside docs/ become their text, as the site does not hold them.

  Raises:
    PluginError: a picture or a file that is linked to is not there.
  """
  folder = pathlib.Path(page.file.abs_src_path).parent

  def existing(path):
    if not (folder / path).exists():
      raise PluginError(f'{page.file.src_uri}: {path}: no such file')
    return path

  def pictured(match):
    return '\n'.join(
      f'![{match["alt"]}]({existing(match[mode])}#only-{mode})' for mode in ('light', 'dark')
    )

  def named(match):
    existing(match['path'])
    return match['text']

  return _OUTSIDE.sub(named, _PICTURE.sub(pictured, markdown))
