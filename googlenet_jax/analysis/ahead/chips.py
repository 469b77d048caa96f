"""Facts about the chips that programs are compiled for, from their makers' published data."""

import dataclasses
from typing import Literal

_CLOUD = 'cloud.google.com/tpu/docs/system-architecture-tpu-vm'
_NVIDIA = 'NVIDIA data sheet'


@dataclasses.dataclass(frozen=True)
class Chip:
  """A chip as its maker describes it.

  Attributes:
    title: its name in prose.
    platform: `tpu` or `gpu`.
    peak: floating-point operations per second on dense bfloat16 matrices.
    memory: bytes of high-bandwidth memory.
    bandwidth: bytes per second between that memory and the chip.
    clock: cycles per second.
    source: where the figures are published. A TPU's clock is computed from its peak and its matrix
      units, each with 2 x 128 x 128 operations per cycle (256 x 256 on v6e).
  """

  title: str
  platform: Literal['tpu', 'gpu']
  peak: float
  memory: int
  bandwidth: float
  clock: float
  source: str


GIB = 2**30

CHIPS: dict[str, Chip] = {
  'v4': Chip('TPU v4', 'tpu', 275e12, 32 * GIB, 1228e9, 1.05e9, f'{_CLOUD}: v4'),
  'v5e': Chip('TPU v5e', 'tpu', 197e12, 16 * GIB, 819e9, 1.5e9, f'{_CLOUD}: v5e'),
  'v5p': Chip('TPU v5p', 'tpu', 459e12, 95 * GIB, 2765e9, 1.75e9, f'{_CLOUD}: v5p'),
  'v6e': Chip('TPU v6e', 'tpu', 918e12, 32 * GIB, 1640e9, 1.75e9, f'{_CLOUD}: v6e'),
  'a100': Chip(
    'NVIDIA A100 SXM 80 GB', 'gpu', 312e12, 85_100_068_864, 2039e9, 1.41e9, f'{_NVIDIA}: A100'
  ),
  'h100': Chip(
    'NVIDIA H100 SXM 80 GB', 'gpu', 989e12, 84_942_979_072, 3352e9, 1.98e9, f'{_NVIDIA}: H100'
  ),
  'h200': Chip(
    'NVIDIA H200 SXM 141 GB', 'gpu', 989e12, 151_397_597_184, 4800e9, 1.98e9, f'{_NVIDIA}: H200'
  ),
}


@dataclasses.dataclass(frozen=True)
class _Multiprocessors:
  """What XLA needs to know about a GPU's multiprocessors (CUDA C++ Programming Guide, 16)."""

  count: int
  lanes: int  # float32 units in each
  shared: int  # bytes of shared memory in each
  shared_by_block: int  # bytes of it that one block may use
  l2: int  # bytes of the cache that all share
  capability: int
  features: str


_MULTIPROCESSORS = {
  'a100': _Multiprocessors(108, 64, 167_936, 166_912, 40 * 2**20, 8, 'NONE'),
  'h100': _Multiprocessors(132, 128, 233_472, 232_448, 50 * 2**20, 9, 'ACCELERATED_FEATURES'),
  'h200': _Multiprocessors(132, 128, 233_472, 232_448, 50 * 2**20, 9, 'ACCELERATED_FEATURES'),
}


def target_config(name: str) -> str:
  """A GPU as text of XLA's protocol buffer message GpuTargetConfigProto.

  Args:
    name: a GPU of `CHIPS`.
  """
  chip, parts = CHIPS[name], _MULTIPROCESSORS[name]
  return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {parts.shared}
  threads_per_core_limit: 2048
  core_count: {parts.count}
  fpus_per_core: {parts.lanes}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {chip.bandwidth:.0f}
  l2_cache_size: {parts.l2}
  clock_rate_ghz: {chip.clock / 1e9}
  device_memory_size: {chip.memory}
  shared_memory_per_block_optin: {parts.shared_by_block}
  cuda_compute_capability {{ major: {parts.capability} feature_extension: {parts.features} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  runtime_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{chip.title}"
"""
