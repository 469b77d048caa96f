"""The files of `googlenet report`: CSV, Markdown, an HTML page and HParams."""

import logging
import pathlib
import time
from collections.abc import Sequence

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.report.hparams import write_hparams
from googlenet_jax.sweeps.report.page import page
from googlenet_jax.sweeps.report.reading import StudyResult
from googlenet_jax.sweeps.report.tables import members_csv, summary_markdown

logger = logging.getLogger('googlenet_jax')


def write_report(studies: Sequence[StudyResult], out: pathlib.Path) -> list[pathlib.Path]:
  """Writes `members.csv`, `summary.md` and `report.html` to `out`, and HParams next to the members.

  Raises:
    UserError: `out` cannot be written.
  """
  day = time.strftime('%Y-%m-%d')
  done, members = (sum(len(getattr(s, name)) for s in studies) for name in ('done', 'members'))
  about = f'GoogLeNet in JAX. {done} of {members} members done; written {day}.'
  title = 'Studies: ' + ', '.join(study.name for study in studies)
  contents = {
    'members.csv': members_csv(studies),
    'summary.md': f'# {title}\n\n{about}\n\n{summary_markdown(studies)}',
    'report.html': page(studies, title, about),
  }
  try:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
      files.write_whole(out / name, text.encode(), out)
  except OSError as error:
    raise UserError(f'{out}: cannot be written: {error.strerror}') from error
  for study in studies:  # next to the members, in a folder that may be another user's
    try:
      write_hparams(study)
    except OSError as error:
      logger.warning('%s: HParams not written: %s', study.path, error.strerror)
  return [out / name for name in contents]
