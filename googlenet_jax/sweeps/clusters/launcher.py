"""Manages pods of Cloud TPU: requests them, runs members on them, replaces and deletes them.

Pods are named after the study and the member. By these names, a launcher finds the pods that a
killed launcher has left behind: it takes over those of unfinished members and deletes the others.
"""

import collections
import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

from googlenet_jax.errors import RUN_ME_AGAIN, UserError
from googlenet_jax.sweeps.clusters import gcloud, script
from googlenet_jax.sweeps.clusters.cluster import study_key
from googlenet_jax.sweeps.clusters.gcloud import Found, GcloudError, Request
from googlenet_jax.sweeps.local import last_line, log_file, note_failure
from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.status import DONE, FAILED, RUNNING
from googlenet_jax.sweeps.study import Study

POLL = 20.0  # seconds between two checks of all pods
PATIENCE = 120.0  # seconds that members are given to save after a signal
UNSEEN = 60.0  # seconds after which a request that is not listed is considered gone
AGAIN = 60.0  # seconds between two attempts to delete a pod, or to create one beyond the quota
GONE = 900.0  # seconds to wait at the end until all pods are deleted
LOST = 90  # consecutive checks that may fail: half an hour
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # unless ignored, as under nohup


def prefix(study: Study) -> str:
  """The prefix of the names of a study's pods."""
  return f'{study_key(study)}-'


def pod_name(study: Study, member: Member) -> str:
  """The name of a member's pod and of its request; the same in every launch."""
  return f'{prefix(study)}{member.id}'


@dataclasses.dataclass
class _Pod:
  """A requested pod and its member, which is None if the pod only has to be deleted."""

  name: str
  member: Member | None
  due: float = 0.0  # when the member may start
  made: float = dataclasses.field(default_factory=time.monotonic)
  seen: bool = False
  process: subprocess.Popen | None = None
  log: IO[bytes] | None = None
  log_began: int = 0
  told: float | None = None  # when it was told to stop
  stopper: subprocess.Popen | None = None  # the process that tells it
  leaves: bool = False
  comes_again: bool = False  # whether the member gets another pod
  deletion: float | None = None  # when deletion was last requested


class Launcher:
  """Runs members on pods until each is done or has failed too often, or a signal stops them."""

  def __init__(
    self, study: Study, request: Request, parallel: int, retries: int, say: Callable[[str], None]
  ) -> None:
    """Prepares the launch; `run` starts it.

    Args:
      study: the study whose members are run.
      request: the request for each member's pod.
      parallel: number of pods at a time.
      retries: how often a failed member is retried; preemptions do not count.
      say: called with one line for each event.
    """
    self._study, self._request, self._say = study, request, say
    self._parallel, self._retries = parallel, retries
    self._pods: list[_Pod] = []
    self._waiting: collections.deque[tuple[float, Member]] = collections.deque()
    self._found: dict[str, Found] = {}
    self._lost = self._stops = 0
    self._had_one = False  # a quota that allowed one pod will allow one again

  def run(self, members: Sequence[Member]) -> bool:
    """Runs members; all of the study's pods are deleted, no matter how it ends.

    Returns:
      True if it ran to the end, False if a signal stopped it.

    Raises:
      UserError: gcloud refused, or pods could not be deleted; names them.
    """
    heard = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, self._stop) for number in heard}
    try:
      self._take_over(members)
      while True:
        for pod in list(self._pods):
          self._advance(pod, self._found.get(pod.name))
        self._tell() if self._stops else self._fill()
        if self._is_over():
          return not self._stops
        self._pause(POLL)
        self._look()
    except UserError as error:
      if self._pods:
        self._say(str(error))
      raise
    finally:
      try:
        self._delete_all()
      finally:
        for number, handler in handlers.items():
          signal.signal(number, handler)

  def _is_over(self) -> bool:
    """Whether all that is left to do is to delete pods."""
    come = self._waiting or any(pod.comes_again for pod in self._pods)
    return all(pod.leaves for pod in self._pods) and (self._stops > 0 or not come)

  def _stop(self, number: int, _frame: Any) -> None:
    self._stops += 1
    if self._stops == 1:
      said = 'members save and stop, then all pods are deleted; a second signal skips the waiting'
      self._say(f'{signal.Signals(number).name}: {said}')

  def _pause(self, seconds: float) -> None:
    """Waits, but returns early if a member ends or a signal arrives."""
    end, stops = time.monotonic() + seconds, self._stops
    while time.monotonic() < end and self._stops == stops:
      if any(pod.process and pod.process.poll() is not None for pod in self._pods):
        return
      time.sleep(min(0.2, seconds))

  def _look(self) -> None:
    """Updates the states of all pods; a few consecutive failures leave them unchanged."""
    try:
      self._found = self._request.listed(prefix(self._study))
      self._lost = 0
    except GcloudError as error:
      self._lost += 1
      if self._lost > LOST:
        raise
      self._say(f'{error} (trying again)')
    for pod in self._pods:
      pod.seen = pod.seen or pod.name in self._found

  def _take_over(self, members: Sequence[Member]) -> None:
    """Takes over or deletes the pods that an earlier launcher has left behind."""
    self._found = self._request.listed(prefix(self._study))
    names = {pod_name(self._study, member): member for member in members}
    for name, found in self._found.items():
      pod = _Pod(name, names.pop(name, None), seen=True)
      kept = sum(not other.leaves for other in self._pods)
      good = found.state in (gcloud.ACTIVE, *gcloud.WAITING)
      good = good and found.accelerator == self._request.accelerator
      self._pods.append(pod)
      self._had_one = True
      if pod.member and good and kept < self._parallel:
        self._say(f'{pod.member.name}: {name} exists ({found.state}) and is taken over')
      else:
        self._say(f'{name}: exists ({found.state}) and is deleted')
        self._leave(pod, comes_again=True)
    self._waiting.extend((0.0, member) for member in names.values())

  def _advance(self, pod: _Pod, found: Found | None) -> None:
    """Takes the next step for a pod, depending on its state."""
    state = found.state if found else ''
    if pod.leaves:
      self._see_it_go(pod, state)
    elif pod.process and pod.process.poll() is None:
      if state != gcloud.ACTIVE:
        self._preempted(pod, state)
    elif pod.process:
      self._ended(pod, pod.process.returncode)
    elif not found:
      if pod.seen or time.monotonic() > pod.made + UNSEEN:
        self._preempted(pod, state)
    elif state == gcloud.ACTIVE:
      if time.monotonic() >= pod.due and not self._stops:
        self._start(pod)
    elif state == gcloud.FAILED:
      self._failed(pod, -1, f'no pod: {found.reason or state}')
      if not pod.leaves:
        self._leave(pod, comes_again=True)
    elif state not in gcloud.WAITING:
      self._preempted(pod, state)

  def _see_it_go(self, pod: _Pod, state: str) -> None:
    if not state and not self._lost:
      self._pods.remove(pod)
      if pod.member and pod.comes_again:
        self._waiting.append((pod.due, pod.member))
    elif state != gcloud.DELETING and time.monotonic() > (pod.deletion or 0) + AGAIN:
      self._delete(pod)

  def _preempted(self, pod: _Pod, state: str) -> None:
    assert pod.member
    self._say(f'{pod.member.name}: {pod.name} is gone ({state or "deleted"}); requesting another')
    self._leave(pod, comes_again=True)

  def _leave(self, pod: _Pod, comes_again: bool) -> None:
    """Deletes a pod; with `comes_again`, its member gets another one."""
    self._hang_up(pod)
    pod.leaves, pod.comes_again = True, comes_again and pod.member is not None
    self._delete(pod)

  def _delete(self, pod: _Pod) -> None:
    pod.deletion = time.monotonic()
    try:
      gcloud.ask(self._request.delete(pod.name))
    except GcloudError as error:
      if 'NOT_FOUND' not in str(error):
        self._say(f'{pod.name}: {error}')

  def _hang_up(self, pod: _Pod) -> None:
    """Ends this side of the connection; processes on the hosts end with the pod."""
    for process in filter(None, (pod.process, pod.stopper)):
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()
    pod.process = pod.stopper = None
    if pod.log:
      pod.log.close()

  def _fill(self) -> None:
    """Requests pods for members that are due."""
    for _ in range(len(self._waiting)):
      if len(self._pods) >= self._parallel:
        return
      due, member = self._waiting.popleft()
      state = self._study.status(member, self._retries).state
      if state in (DONE, FAILED):
        continue
      if due > time.monotonic() or state == RUNNING:
        self._waiting.append((due, member))
        continue
      name = pod_name(self._study, member)
      try:
        gcloud.ask(self._request.create(name))
      except GcloudError as error:
        if not error.is_there and not (error.is_quota and self._had_one):
          raise
        if not error.is_there:
          self._say(f'{member.name}: waiting: {error}')
          self._waiting.append((time.monotonic() + AGAIN, member))
          continue
      self._say(f'{member.name}: requested {name}')
      self._pods.append(_Pod(name, member))
      self._had_one = True

  def _start(self, pod: _Pod) -> None:
    assert pod.member
    line = script.command(self._study, pod.member, self._request.python)
    pod.log = log_file(self._study, pod.member).open('ab')
    pod.log_began = pod.log.tell()
    pod.process = subprocess.Popen(
      self._request.run(pod.name, line),
      stdin=subprocess.DEVNULL,
      stdout=pod.log,
      stderr=subprocess.STDOUT,
      start_new_session=True,  # so that Ctrl-C reaches it only through the launcher
    )
    self._say(f'{pod.member.name}: started on {pod.name}')

  def _ended(self, pod: _Pod, code: int) -> None:
    """Finds out why a member's command ended, and acts accordingly."""
    assert pod.member
    name = pod.member.name
    self._hang_up(pod)
    if self._study.status(pod.member, self._retries, at_once=True).state == DONE:
      self._say(f'{name}: done')
      self._leave(pod, comes_again=False)
    elif self._stops:
      self._say(f'{name}: stopped, to be resumed')
      self._leave(pod, comes_again=False)
    elif (gone := self._gone(pod)) is not None:
      self._preempted(pod, gone)
    elif self._lost:  # the reason is unknown
      self._say(f'{name}: ended ({code}) while gcloud did not answer; trying again')
      pod.due = time.monotonic() + POLL
    elif code == RUN_ME_AGAIN:
      self._say(f'{name}: stopped, to be resumed')
      pod.due = time.monotonic() + 1
    else:
      message = last_line(log_file(self._study, pod.member), pod.log_began) or f'exit {code}'
      if code == 0:
        workdir = self._study.workdir(pod.member)
        message = f'ended, but {workdir} is not done here: do the hosts have the same --root?'
      self._failed(pod, code, message)

  def _gone(self, pod: _Pod) -> str | None:
    """The state of a pod that is no longer usable; None if it still is."""
    self._look()
    found = self._found.get(pod.name)
    if not found or found.state != gcloud.ACTIVE:
      return found.state if found else ''
    node = self._request.node_state(pod.name)
    return node if node in ('PREEMPTED', 'TERMINATED', 'STOPPED') else None

  def _failed(self, pod: _Pod, code: int, message: str) -> None:
    """Records a failure; the member is retried later, or abandoned and its pod deleted."""
    assert pod.member
    given_up, wait, said = note_failure(self._study, pod.member, code, message, self._retries)
    self._say(said)
    pod.due = time.monotonic() + wait
    if given_up:
      self._leave(pod, comes_again=False)

  def _tell(self) -> None:
    """After the first signal, members save before their pods are deleted; a second skips saving."""
    for pod in self._pods:
      if pod.leaves:
        continue
      if not pod.process or self._stops > 1:
        self._leave(pod, comes_again=False)
      elif pod.told is None:
        pod.told = time.monotonic()
        stop = self._request.ssh(pod.name, gcloud.STOP)
        silent: Any = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)
        pod.stopper = subprocess.Popen(stop, start_new_session=True, **silent)
      elif time.monotonic() > pod.told + PATIENCE:
        self._leave(pod, comes_again=False)

  def _delete_all(self) -> None:
    """Deletes all pods of the study and waits until they are gone.

    Raises:
      UserError: some pods are left; names them and the command that deletes them.
    """
    for pod in self._pods:
      self._hang_up(pod)
    asked = {pod.name: pod.deletion for pod in self._pods if pod.deletion}
    end, stops = time.monotonic() + GONE, self._stops
    # A pod that was requested a moment ago may not be listed yet.
    left = {pod.name for pod in self._pods}
    while left and time.monotonic() < end:
      with contextlib.suppress(GcloudError):
        self._found = self._request.listed(prefix(self._study))
        young = {p.name for p in self._pods if not p.seen and time.monotonic() < p.made + POLL}
        left = set(self._found) | (young - set(asked))
      for name in left:
        found = self._found.get(name)
        ongoing = found is not None and found.state == gcloud.DELETING
        if not ongoing and time.monotonic() > asked.get(name, -AGAIN) + AGAIN:
          asked[name] = time.monotonic()
          self._delete(_Pod(name, None))
      if self._stops > max(stops, 1):
        break
      if left:
        self._pause(min(POLL, 5))
    if left:
      first = ' '.join(self._request.delete(min(left)))
      raise UserError(
        f'{", ".join(sorted(left))}: deletion not confirmed; see `gcloud compute tpus '
        f'queued-resources list`, and delete with: {first}'
      )
