"""`googlenet sweep`: shows the plan of a study, launches it, and shows its status."""

import contextlib
import dataclasses
import pathlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from rich.console import Console
from rich.live import Live

from googlenet_jax import files, runtime
from googlenet_jax.data.sources import open_split
from googlenet_jax.errors import Preempted, UserError
from googlenet_jax.sweeps import estimate, local, search, table
from googlenet_jax.sweeps.clusters import kubernetes, script, slurm, tpu
from googlenet_jax.sweeps.clusters.cluster import Cluster
from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.status import DONE, FAILED, Status
from googlenet_jax.sweeps.study import RETRIES, Costs, Study

GUESS = "a guess from this CPU's speed"


@dataclasses.dataclass(frozen=True)
class Options:
  """The options of a launch, named like the flags."""

  on: str = 'local'
  parallel: int | None = None
  retries: int = RETRIES
  status: bool = False
  slurm: tuple[str, ...] = ()
  kubernetes: tuple[str, ...] = ()
  apply: bool = False
  tpu: tuple[str, ...] = ()
  template: pathlib.Path | None = None
  sampler: str | None = None
  trials: int | None = None

  @classmethod
  def of(cls, flags: Mapping[str, Any], study: Study) -> 'Options':
    """Picks the options of a launch from the flags.

    Args:
      flags: values by name. If `retries` is None, the default is used or, with `status`, the value
        with which the study was launched.
      study: the study to launch.

    Raises:
      UserError: the study's folder contains a study with another config.
    """
    given = {field.name: flags[field.name] for field in dataclasses.fields(cls)}
    if given['retries'] is None:
      before = study.before() if given['status'] else {}
      given['retries'] = before.get('retries', RETRIES)
    return cls(**given)


def sweep(study: Study, options: Options, cache_dir: pathlib.Path, command: str) -> bool:
  """Launches a study, or prints its status.

  Args:
    study: the study to launch.
    options: the options of the launch.
    cache_dir: the directory for embedded data.
    command: the command as typed, for the record.

  Returns:
    Whether no member has failed.

  Raises:
    Preempted: a signal stopped it; everything is saved.
    UserError: an option or the study is invalid, or the cluster refused something.
  """
  jax.config.update('jax_platforms', 'cpu')  # leaves GPUs to the members
  _check(options)
  if study.staged and options.on in ('slurm', 'kubernetes'):
    raise UserError(
      f'--root={study.staged.url}: accepted with --on={options.on}: a path that the members mount; '
      'for a study in a bucket: --on=local, print or tpu'
    )
  cluster = _cluster(options, study) if not options.status or options.tpu else None
  data = study.config.data
  split = open_split(data.source, data.train_split, cache_dir=cache_dir)
  classes, examples = len(split.classes), len(split.records)
  costs = study.costs(classes, examples)
  printed = options.on == 'print' or (options.on == 'tpu' and not options.apply)
  out = table.console(stderr=printed and not options.status)

  def write() -> None:
    costs.update(study.costs(classes, examples))
    study.write(costs, command, options.retries)

  if options.status:
    study.before()  # an error if it has another config
    statuses = _show_progress(out, study, costs, options)
    if isinstance(cluster, tpu.Tpu):
      for name, state in cluster.states(study).items():
        out.print(f'{name}: its pod is {state}')
    return not any(status.state == FAILED for status in statuses.values())
  if not options.sampler:
    write()
    _show_plan(out, study, costs, options)
  if printed:
    for member in study.members:
      if isinstance(cluster, tpu.Tpu):
        print('\n'.join(shlex.join(line) for line in cluster.commands(study, member)))
      else:
        print(script.command(study, member))
    return True
  with _only_one(study):
    if cluster is not None:
      return _submit(out, study, options, cluster)
    return _local(out, study, options, costs, write)


def _check(options: Options) -> None:
  def refuse(flag: str, accepted: str) -> None:
    raise UserError(f'--{flag}: accepted: {accepted}')

  if options.on != 'slurm' and options.slurm:
    refuse('slurm', 'with --on=slurm')
  if options.on != 'kubernetes' and options.kubernetes:
    refuse('kubernetes', 'with --on=kubernetes')
  if options.on not in ('kubernetes', 'tpu') and options.apply:
    refuse('apply', 'with --on=kubernetes or tpu')
  if options.on not in ('slurm', 'kubernetes') and options.template:
    refuse('template', 'with --on=slurm or kubernetes')
  if options.on != 'tpu' and options.tpu:
    refuse('tpu', 'with --on=tpu')
  if options.sampler and (options.on != 'local' or not options.trials):
    refuse('sampler', 'with --on=local and --trials=N')
  if options.trials and not options.sampler:
    refuse('trials', 'with --sampler=optuna')


@contextlib.contextmanager
def _only_one(study: Study) -> Iterator[None]:
  busy = f'{study.path}: another launcher is running there; --status shows its progress'
  try:
    study.path.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
      held.enter_context(files.locked(study.path / 'launcher.lock', busy))
      if study.staged:
        held.enter_context(study.staged.held())
      yield
  except OSError as error:
    raise UserError(
      f'--root: {error.filename or study.path}: cannot be used: {error.strerror}'
    ) from error


def _show_plan(out: Console, study: Study, costs: dict[str, Costs], options: Options) -> None:
  statuses = study.statuses(options.retries)
  out.print(table.plan(costs, statuses, _rate(costs, statuses, options)[0], out))
  out.print(f'{study.name}: {_outlook(costs, statuses, options)}')


def _show_progress(
  out: Console, study: Study, costs: dict[str, Costs], options: Options
) -> dict[str, Status]:
  statuses = study.statuses(options.retries)
  out.print(table.progress(costs, statuses, {}, out))
  _show_end(out, study, statuses)
  return statuses


def _show_end(out: Console, study: Study, statuses: dict[str, Status]) -> None:
  for line in table.failures(statuses):
    out.print(line)
  out.print(f'{study.name}: {table.summary(statuses)}')


def _slots(options: Options, members: int) -> int:
  """The number of members that will run at a time, as far as it is known."""
  if options.on == 'local':
    return len(local.slots(options.parallel, members))
  return min(options.parallel or 1, members)


def _rate(
  costs: dict[str, Costs], statuses: dict[str, Status], options: Options
) -> tuple[float | None, str]:
  """Multiply-adds per second of one member (None if unknown), and the source of that number."""
  rate = estimate.measured_rate(costs, statuses)
  if rate is not None:
    return rate, 'from the members that are done'
  if options.on == 'local' and not local.visible_gpus():
    return estimate.cpu_rate() / _slots(options, len(costs)), GUESS
  return None, ''


def _outlook(costs: dict[str, Costs], statuses: dict[str, Status], options: Options) -> str:
  """How many members are done, and how long the others will take."""
  said = table.summary(statuses)
  left = {name: costs[name] for name, status in statuses.items() if status.state != DONE}
  rate, source = _rate(costs, statuses, options)
  if not left:
    return said
  if rate is None:
    return f'{said}; the time left is unknown until a member is done'
  total = sum(estimate.seconds(cost, rate, statuses[name].step) for name, cost in left.items())
  total /= _slots(options, len(left))
  if source == GUESS:
    networks = len({(cost.parameters, cost.macs, cost.training_macs) for cost in left.values()})
    total += networks * estimate.COMPILATION / len(runtime.cores())
  order = '' if options.on == 'local' or options.parallel else ', one after another'
  return f'{said}; about {table.duration(total)} to go{order} ({source})'


def _local(
  out: Console,
  study: Study,
  options: Options,
  costs: dict[str, Costs],
  write: Callable[[], None],
) -> bool:
  members, more = to_run(study, options, write)
  count = options.trials or len(study.members)
  slots = local.slots(options.parallel, count)
  lines = table.console(stderr=True)
  live: Live | None = None
  shown = 0.0

  def say(line: str) -> None:
    text = f'{time.strftime("%H:%M:%S")} {line}'
    lines.print(text)

  def show(launcher: local.Launcher) -> None:
    nonlocal shown
    if live and time.monotonic() > shown + 1:
      shown = time.monotonic()
      places = {name: slot.place for name, slot in launcher.running.items()}
      statuses = study.statuses(options.retries)
      last = f'{study.name}: {_outlook(costs, statuses, options)}'
      live.update(table.live(costs, statuses, places, last, lines))

  launcher = local.Launcher(study, slots, options.retries, say, show)
  with contextlib.ExitStack() as stack:
    if lines.is_terminal:
      live = stack.enter_context(Live(console=lines, refresh_per_second=2, transient=True))
    finished = launcher.run(members, more)
  statuses = _show_progress(out, study, costs, options)
  if not finished:
    raise Preempted(f'sweep {study.name}: {table.summary(statuses)}')
  return not any(status.state == FAILED for status in statuses.values())


def to_run(
  study: Study, options: Options, write: Callable[[], None]
) -> tuple[Sequence[Member], Callable[[], Member | None]]:
  """The members that a launch runs here, and what gives more of them; failed ones start anew."""
  trials = None
  if options.sampler:  # the members are then those of the trials
    trials = search.Trials(study, options.trials or 0, options.retries, write)
  before = study.statuses(options.retries)
  for member in study.members:
    if before[member.name].state == FAILED:
      study.try_again(member)
  return (study.members, lambda: None) if trials is None else (trials.unfinished(), trials.ask)


def _cluster(options: Options, study: Study) -> Cluster | None:
  """The cluster that members are submitted to; None if they run here or are only printed.

  Raises:
    UserError: an option is wrong, or a program of the cluster is missing.
  """
  if options.on == 'slurm':
    return slurm.cluster(options.template, tuple(options.slurm))
  if options.on == 'kubernetes':
    return kubernetes.cluster(
      options.kubernetes,
      options.template,
      study.path.parent,
      parallel=options.parallel,
      apply=options.apply,
    )
  if options.on == 'tpu':
    return tpu.cluster(options.tpu, options.apply)
  return None


def _submit(out: Console, study: Study, options: Options, cluster: Cluster) -> bool:
  """Submits members that are neither done nor queued; returns whether no member has failed."""
  queued = cluster.queued(study)
  statuses = study.statuses(options.retries)
  members = [m for m in study.members if statuses[m.name].state != DONE and m.name not in queued]
  if not members and not cluster.attended:  # an attended one may have to clean up
    out.print(f'nothing to submit: {table.summary(statuses)}, {len(queued)} in the queue')
    return True
  for member in members:
    if statuses[member.name].state == FAILED:
      study.try_again(member)
  submitted = cluster.submit(study, members, parallel=options.parallel, retries=options.retries)
  for line in submitted:
    out.print(line, soft_wrap=True)
  if not cluster.attended:
    return True
  statuses = study.statuses(options.retries)
  _show_end(out, study, statuses)
  return not any(status.state == FAILED for status in statuses.values())
