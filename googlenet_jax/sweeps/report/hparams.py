"""Writes a study for TensorBoard's HParams tab, with one run per member."""

import pathlib
import time

from googlenet_jax.sweeps.report.reading import MemberResult, StudyResult

METRICS = {'top1_error': 'eval/top1_error', 'top5_error': 'eval/top5_error', 'loss': 'eval/loss'}


def write_hparams(study: StudyResult) -> pathlib.Path | None:
  """Writes `hparams/<member>` in the study's folder for each member that is done.

  Earlier files are replaced.

  Returns:
    The folder `hparams`; None if tensorboardX is not installed.
  """
  try:
    import tensorboardX  # noqa: F401
  except ImportError:
    return None
  folder = study.path / 'hparams'
  for member in study.done:
    _write(folder / member.name, member)
  return folder


def _write(folder: pathlib.Path, member: MemberResult) -> None:
  from tensorboardX.event_file_writer import EventsWriter
  from tensorboardX.proto.event_pb2 import Event
  from tensorboardX.summary import hparams, scalar

  folder.mkdir(parents=True, exist_ok=True)
  for old in folder.iterdir():
    old.unlink()
  values = {
    key: '+'.join(map(str, value)) if isinstance(value, list) else value
    for key, value in {**member.overrides, **member.costs}.items()
  }
  figures = {METRICS[name]: member.figure(name) for name in METRICS}
  found = {name: value for name, value in figures.items() if value is not None}
  step, now = int(member.result['steps']), time.time()
  writer = EventsWriter(str(folder / 'events'))
  for summary in hparams(values, found):
    writer.write_event(Event(wall_time=now, summary=summary))
  for name, value in found.items():
    writer.write_event(Event(step=step, wall_time=now, summary=scalar(name, value)))
  writer.close()
