"""Cloud TPU as a cluster: each member has its own pod. Also gives the commands to do it by hand."""

import dataclasses
import shutil
import time
from collections.abc import Sequence

from googlenet_jax.errors import Preempted, UserError
from googlenet_jax.sweeps import table
from googlenet_jax.sweeps.clusters import gcloud, script
from googlenet_jax.sweeps.clusters.gcloud import Request
from googlenet_jax.sweeps.clusters.launcher import Launcher, pod_name, prefix
from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.study import Study


@dataclasses.dataclass(frozen=True)
class Tpu:
  """Cloud TPU as a cluster, with a launcher on this machine while its members run."""

  request: Request

  attended = True

  def queued(self, study: Study) -> set[str]:
    """No members: `submit` takes over pods that run without a launcher."""
    del study
    return set()

  def submit(
    self, study: Study, members: Sequence[Member], *, parallel: int | None, retries: int
  ) -> list[str]:
    """Runs members to their end, on up to `parallel` pods at a time, by default one."""
    lines = table.console(stderr=True)

    def say(line: str) -> None:
      lines.print(f'{time.strftime("%H:%M:%S")} {line}', soft_wrap=True)

    launcher = Launcher(study, self.request, parallel or 1, retries, say)
    if not launcher.run(members):
      raise Preempted(f'sweep {study.name}: {table.summary(study.statuses(retries))}')
    return []

  def states(self, study: Study) -> dict[str, str]:
    """The states of a study's pods, by name of the member."""
    found = self.request.listed(prefix(study))
    names = {pod_name(study, member): member.name for member in study.members}
    return {names.get(name, name): pod.state for name, pod in found.items()}

  def commands(self, study: Study, member: Member) -> list[list[str]]:
    """The commands that request a member's pod, run the member, and delete the pod."""
    name, request = pod_name(study, member), self.request
    run = request.run(name, script.command(study, member, request.python))
    return [request.create(name), run, request.delete(name)]


def cluster(options: Sequence[str], apply: bool) -> Tpu:
  """Reads the options of `--on=tpu`.

  Raises:
    UserError: an option is wrong or missing, or `apply` is set but there is no gcloud.
  """
  if apply and not shutil.which('gcloud'):
    raise UserError(
      '--apply: no gcloud on the PATH; accepted: a machine that has it, or no --apply, which only '
      'prints the commands'
    )
  return Tpu(gcloud.request(options))
