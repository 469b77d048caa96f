"""`googlenet sweep`: a study's plan, its launch and its status."""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import time
from collections.abc import Callable, Iterator

import jax
from rich.console import Console
from rich.live import Live

from googlenet_jax import files
from googlenet_jax.data.sources import open_split
from googlenet_jax.errors import UserError
from googlenet_jax.sweeps import estimate, local, search, slurm, table
from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.status import DONE, FAILED, Status, forget_failures, status_of
from googlenet_jax.sweeps.study import Costs, Study


@dataclasses.dataclass(frozen=True)
class Options:
  """What the command line says of a launch; the flags have the same names."""

  on: str = 'local'
  parallel: int | None = None
  retries: int = 2
  status: bool = False
  slurm: tuple[str, ...] = ()
  template: pathlib.Path | None = None
  tpu: str | None = None
  zone: str | None = None
  sampler: str | None = None
  trials: int | None = None


class Stopped(Exception):  # noqa: N818
  """A signal stopped the sweep; the same command goes on."""


def sweep(study: Study, options: Options, cache_dir: pathlib.Path, command: str) -> bool:
  """Launches a study, or says how it stands.

  Args:
    study: to be launched.
    options: of the launch.
    cache_dir: where embedded data are kept.
    command: that was typed, for the record.

  Returns:
    Whether no member has failed.

  Raises:
    Stopped: by a signal; everything is saved.
    UserError: nothing was started.
  """
  jax.config.update('jax_platforms', 'cpu')  # GPUs belong to the members
  _check(options)
  template = slurm.check(options.template) if options.on == 'slurm' else ''
  data = study.config.data
  split = open_split(data.source, data.train_split, cache_dir=cache_dir)
  classes, examples = len(split.classes), len(split.records)
  costs = study.costs(classes, examples)
  out = Console(stderr=options.on in ('print', 'tpu'), highlight=False)

  def write() -> None:
    costs.update(study.costs(classes, examples))
    study.write(costs, command)

  if options.status:
    statuses = _statuses(study, options.retries)
    out.print(table.progress(costs, statuses, {}))
    out.print(f'{study.name}: {table.summary(statuses)}')
    return not any(status.state == FAILED for status in statuses.values())
  if not options.sampler:
    write()
    _show_plan(out, study, costs, options)
  if options.on in ('print', 'tpu'):
    for member in study.members:
      print(_tpu(study, member, options) if options.on == 'tpu' else slurm.command(study, member))
    return True
  with _only_one(study):
    if options.on == 'slurm':
      return _submit(out, study, options, template)
    return _local(out, study, options, costs, write)


def _check(options: Options) -> None:
  def refuse(flag: str, accepted: str) -> None:
    raise UserError(f'--{flag}: accepted: {accepted}')

  if options.on != 'slurm' and (options.slurm or options.template):
    refuse('slurm, --template', 'with --on=slurm')
  if (options.on == 'tpu') != bool(options.tpu):
    refuse('tpu=NAME', 'with --on=tpu, and needed there')
  if options.sampler and (options.on != 'local' or not options.trials):
    refuse('sampler', 'with --on=local and --trials=N')
  if options.trials and not options.sampler:
    refuse('trials', 'with --sampler=optuna')


@contextlib.contextmanager
def _only_one(study: Study) -> Iterator[None]:
  busy = f'{study.path}: another launcher is at work there; see it with --status'
  try:
    study.path.mkdir(parents=True, exist_ok=True)
    with files.locked(study.path / 'launcher.lock', busy):
      yield
  except OSError as error:
    raise UserError(f'--root: {study.path}: cannot be written: {error.strerror}') from error


def _statuses(study: Study, retries: int) -> dict[str, Status]:
  return {m.name: status_of(study.workdir(m), retries) for m in study.members}


def _show_plan(out: Console, study: Study, costs: dict[str, Costs], options: Options) -> None:
  statuses = _statuses(study, options.retries)
  rate = estimate.measured_rate(costs, statuses)
  here = options.on == 'local' and not local.visible_gpus()
  source = 'from the members that are done'
  if rate is None and here:
    rate, source = estimate.cpu_rate(), "a guess from this CPU's speed"
  out.print(table.plan(costs, statuses, rate))
  left = [costs[name] for name, status in statuses.items() if status.state != DONE]
  text = f'{study.name}: {table.summary(statuses)}'
  if rate and left:
    total = sum(estimate.seconds(cost, rate) for cost in left)
    networks = len({(c.parameters, c.macs, c.training_macs) for c in left})
    if here and source.startswith('a guess'):
      total += networks * estimate.COMPILATION / len(os.sched_getaffinity(0))
    elif not here or options.parallel:
      total /= min(options.parallel or 1, len(left))
    text += f'; about {table.duration(total)} to go ({source})'
  elif left:
    text += '; the time is not known before a member is done'
  out.print(text)


def _local(
  out: Console,
  study: Study,
  options: Options,
  costs: dict[str, Costs],
  write: Callable[[], None],
) -> bool:
  for member in study.members:
    if status_of(study.workdir(member), options.retries).state == FAILED:
      forget_failures(study.workdir(member))
  count = options.trials or len(study.members)
  slots = local.slots(options.parallel, count)
  lines = Console(stderr=True, highlight=False)
  live: Live | None = None
  shown = 0.0

  def report(line: str) -> None:
    text = f'{time.strftime("%H:%M:%S")} {line}'
    (live.console if live else lines).print(text, markup=False, soft_wrap=True)

  def show(launcher: local.Launcher) -> None:
    nonlocal shown
    if live and time.monotonic() > shown + 1:
      shown = time.monotonic()
      places = {name: slot.place for name, slot in launcher.running.items()}
      live.update(table.progress(costs, _statuses(study, options.retries), places))

  launcher = local.Launcher(study, slots, options.retries, report, show)
  members, more = study.members, _no_more
  if options.sampler:
    trials = search.Trials(study, options.trials or 0, options.retries, write)
    members, more = trials.unfinished(), trials.ask
  with contextlib.ExitStack() as stack:
    if lines.is_terminal:
      live = stack.enter_context(Live(console=lines, refresh_per_second=2, transient=True))
    finished = launcher.run(members, more)
  statuses = _statuses(study, options.retries)
  out.print(table.progress(costs, statuses, {}))
  out.print(f'{study.name}: {table.summary(statuses)}')
  if not finished:
    raise Stopped(f'sweep {study.name}: {table.summary(statuses)}')
  return not any(status.state == FAILED for status in statuses.values())


def _no_more() -> Member | None:
  return None


def _submit(out: Console, study: Study, options: Options, template: str) -> bool:
  queued = slurm.queued(study)
  statuses = _statuses(study, options.retries)
  members = [m for m in study.members if statuses[m.name].state != DONE and m.name not in queued]
  if not members:
    out.print(f'nothing to submit: {table.summary(statuses)}, {len(queued)} in the queue')
    return True
  for member in members:
    if statuses[member.name].state == FAILED:
      forget_failures(study.workdir(member))
  job = slurm.submit(
    study,
    members,
    template=template,
    options=options.slurm,
    parallel=options.parallel,
    retries=options.retries,
  )
  out.print(f'submitted {len(members)} members as job {job}; see them with squeue or --status')
  return True


def _tpu(study: Study, member: Member, options: Options) -> str:
  """The command that runs a member on all hosts of a pod."""
  zone = [f'--zone={options.zone}'] if options.zone else []
  here = f'cd {shlex.quote(os.getcwd())} && {slurm.command(study, member)}'
  ssh = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', str(options.tpu)]
  return shlex.join([*ssh, *zone, '--worker=all', f'--command={here}'])
