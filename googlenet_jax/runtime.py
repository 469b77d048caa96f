"""What must be set before JAX starts: faster CPU kernels and a compilation cache.

Whatever the user's own environment says wins; `GOOGLENET_JAX_DEFAULTS=0` turns all of it off.
"""

import hashlib
import importlib.metadata
import os
import pathlib
import platform
import sys
import warnings

_FUSION = '--xla_cpu_experimental_ynn_fusion_type'


def cache_dir() -> pathlib.Path:
  """Where embedded data and compiled programs are kept between runs."""
  if own := os.environ.get('GOOGLENET_CACHE'):
    return pathlib.Path(own)
  base = os.environ.get('XDG_CACHE_HOME')
  return (pathlib.Path(base) if base else pathlib.Path.home() / '.cache') / 'googlenet_jax'


def configure() -> None:
  """Sets the defaults in the environment; calling it again changes nothing.

  Call it before JAX is imported: JAX reads them once.
  """
  if os.environ.get('GOOGLENET_JAX_DEFAULTS') == '0' or os.environ.get('_GOOGLENET_JAX_SET'):
    return
  if 'jax' in sys.modules:
    warnings.warn(
      'googlenet_jax.runtime.configure() was called after JAX was imported: its defaults may '
      'have no effect',
      stacklevel=2,
    )
  # Dots in YNNPACK, convolutions in Eigen: 1.7 times the training steps per second on a CPU. XLA
  # ends the process at a flag that it does not know, so only releases that have it get it.
  flags = os.environ.get('XLA_FLAGS', '')
  if _FUSION not in flags and _jaxlib().startswith('0.10.'):
    os.environ['XLA_FLAGS'] = f'{flags} {_FUSION}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'.strip()
  if cache := _compilation_cache():
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES', 'none')
  os.environ['_GOOGLENET_JAX_SET'] = '1'


def _jaxlib() -> str:
  try:
    return importlib.metadata.version('jaxlib')
  except importlib.metadata.PackageNotFoundError:
    return ''


def _compilation_cache() -> pathlib.Path | None:
  """A folder for this kind of processor, None where none can be made.

  Code compiled for one processor may crash another that shares the home directory.
  """
  processor = platform.machine() + platform.processor()
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    processor += next((line for line in lines if line.startswith('flags')), '')
  except OSError:
    pass
  name = hashlib.sha256(processor.encode()).hexdigest()[:12]
  folder = cache_dir() / 'compiled' / name
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return None
  return folder if os.access(folder, os.W_OK) else None
