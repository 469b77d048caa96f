"""Settings that must be made before JAX starts: faster CPU kernels and a compilation cache.

The user's own environment takes precedence; `GOOGLENET_JAX_DEFAULTS=0` disables all settings.
`GOOGLENET_JAX_KEEP_PAGES=1` makes steps on a CPU faster at the cost of memory: see `keep_pages`.
"""

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import pathlib
import platform
import subprocess
import sys
import warnings

# Matrix products in YNNPACK, convolutions in Eigen: training on a CPU is 1.7 times as fast.
_FUSION = '--xla_cpu_experimental_ynn_fusion_type'
_DOTS_IN_YNNPACK = f'{_FUSION}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'

# Compile options are read from XLA_FLAGS; XLA ends the process if it rejects a flag.
_QUESTION = """
from jaxlib import xla_client
print('asked', flush=True)
xla_client.CompileOptions()
print('accepted', flush=True)
"""


def cache_dir() -> pathlib.Path:
  """The directory for embedded data and compiled programs, which are kept between runs."""
  if own := os.environ.get('GOOGLENET_CACHE'):
    return pathlib.Path(own)
  base = os.environ.get('XDG_CACHE_HOME')
  return (pathlib.Path(base) if base else pathlib.Path.home() / '.cache') / 'googlenet_jax'


def cores() -> list[int]:
  """The processor cores that this process may use; all of them where, as on macOS, none are set."""
  if hasattr(os, 'sched_getaffinity'):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


def configure() -> None:
  """Sets the defaults in the environment; calling it again changes nothing.

  It must be called before JAX is imported, because JAX reads the environment only once.
  """
  if os.environ.get('GOOGLENET_JAX_KEEP_PAGES') == '1':
    keep_pages()  # in each process, because child processes do not inherit it
  if os.environ.get('GOOGLENET_JAX_DEFAULTS') == '0' or os.environ.get('_GOOGLENET_JAX_SET'):
    return
  if 'jax' in sys.modules:
    warnings.warn(
      'googlenet_jax.runtime.configure() was called after JAX was imported: its defaults may '
      'have no effect',
      stacklevel=2,
    )
  flags = os.environ.get('XLA_FLAGS', '').strip()
  # A value that does not start with a dash is the name of a file with flags and is left unchanged.
  if _FUSION not in flags and flags[:1] in ('', '-') and accepts(_DOTS_IN_YNNPACK):
    os.environ['XLA_FLAGS'] = f'{flags} {_DOTS_IN_YNNPACK}'.strip()
  if cache := _compilation_cache():
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES', 'none')
  os.environ['_GOOGLENET_JAX_SET'] = '1'


def keep_pages() -> bool:
  """Makes this process keep the memory that it frees, if the C library is glibc.

  After each step, glibc returns the memory of temporary arrays to the system, and the next step
  waits for as many new pages: a fifth of a training step on two cores. With this setting, the
  process keeps its peak memory, most of which was for compiling the network; therefore the setting
  is optional.

  Returns:
    Whether the C library accepted the setting.
  """
  try:
    mallopt = ctypes.CDLL('libc.so.6').mallopt
  except (OSError, AttributeError):
    return False
  # Only in the main arena, since no other grows without bounds, and never in separate maps.
  trim_threshold, mmap_max, arena_max = -1, -4, -8
  return all(mallopt(*pair) for pair in ((arena_max, 1), (mmap_max, 0), (trim_threshold, -1)))


def cheapest_level() -> int:
  """The lowest `xla_backend_optimization_level` at which this jaxlib compiles correctly for a CPU.

  With jaxlib 0.12, level 0 gives wrong gradients (docs/known_problems.md).
  """
  from jaxlib import version

  return 0 if version.__version_info__ < (0, 12) else 1


def accepts(flag: str) -> bool:
  """Whether this jaxlib knows an XLA flag and accepts its value.

  Only jaxlib knows, and XLA ends the process if it rejects a flag, so a separate process tries the
  flag (0.15 s). The answer is cached in `cache_dir()` for as long as jaxlib's files are unchanged.

  Args:
    flag: the flag and its value, as in `XLA_FLAGS` (`--name=value`).

  Returns:
    Whether it does; also False if jaxlib does not load or the process cannot be started.
  """
  installed = _installed_jaxlib()
  if not installed:
    return False
  key = hashlib.sha256(f'{flag}\n{installed}'.encode()).hexdigest()[:24]
  answer = _kept_answer(key)
  if answer is None:
    answer = _ask(flag)
    if answer is not None:
      _keep_answer(key, answer)
  return answer == 'accepted'


def _installed_jaxlib() -> str:
  """Folder, file sizes and times of the jaxlib that would be imported; '' if there is none."""
  spec = importlib.util.find_spec('jaxlib')
  if spec is None or not spec.submodule_search_locations:
    return ''
  folder = pathlib.Path(spec.submodule_search_locations[0])
  try:
    status = {file.name: file.stat() for file in sorted(folder.iterdir()) if file.is_file()}
  except OSError:
    return ''
  files = [f'{name} {found.st_size} {found.st_mtime_ns}' for name, found in status.items()]
  return '\n'.join([str(folder), *files])


def _ask(flag: str) -> str | None:
  """'accepted' or 'refused'; None if jaxlib could not be asked."""
  environment = {**os.environ, 'XLA_FLAGS': flag, 'PYTHONPATH': os.pathsep.join(sys.path)}
  try:
    run = subprocess.run(
      [sys.executable or '', '-P', '-c', _QUESTION],
      env=environment,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
      timeout=60,
    )
  except (OSError, subprocess.TimeoutExpired):
    return None
  last = run.stdout.split()[-1:]
  return {'accepted': 'accepted', 'asked': 'refused'}.get(''.join(last))


def _kept_answer(key: str) -> str | None:
  try:
    answer = (cache_dir() / 'xla_flags' / key).read_text()
  except (OSError, ValueError, RuntimeError):
    return None
  return answer if answer in ('accepted', 'refused') else None


def _keep_answer(key: str, answer: str) -> None:
  if folder := _writable_folder('xla_flags'):
    # An incomplete answer, left by a full disk or being written by another process, is ignored.
    with contextlib.suppress(OSError):
      (folder / key).write_text(answer)


def _compilation_cache() -> pathlib.Path | None:
  """The folder for this kind of processor, or None if it cannot be created.

  Code compiled for one processor may crash on another that shares the home directory.
  """
  processor = platform.machine() + platform.processor()
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    processor += next((line for line in lines if line.startswith('flags')), '')
  except OSError:
    pass
  return _writable_folder('compiled', hashlib.sha256(processor.encode()).hexdigest()[:12])


def _writable_folder(*names: str) -> pathlib.Path | None:
  """A folder in `cache_dir()`, or None if it cannot be created or written to."""
  try:
    folder = cache_dir().joinpath(*names)
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):  # RuntimeError: the user has no home directory
    return None
  return folder if os.access(folder, os.W_OK) else None
