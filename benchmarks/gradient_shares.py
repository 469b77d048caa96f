"""The cost, in training, of measuring each loss's share of the trunk's gradient.

  python benchmarks/gradient_shares.py --config=experiments/digits.py [--config.KEY=VALUE ...]

The training step and the measurement (`shares_every`) are compiled as in `googlenet train`, and run
in turns on the config's own data; medians are compared.
"""

import argparse
import statistics
import time

from googlenet_jax import runtime


def main() -> None:
  """Measures and prints the cost of one measurement in steps, and at the config's interval."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
  parser.add_argument('--rounds', type=int, default=9)
  parser.add_argument('--steps', type=int, default=3, help='training steps in each round')
  options, arguments = parser.parse_known_args()
  runtime.configure()  # before JAX is imported
  import jax

  from googlenet_jax.training.config.experiment import open_experiment
  from googlenet_jax.training.config.flags import parse_config

  config = parse_config(arguments)
  every = config.shares_every
  config.shares_every = '1 step'  # so that runs shorter than the interval are measured too
  experiment = open_experiment(config, runtime.cache_dir())
  parallel, found = experiment.parallel, experiment.shares_step()
  if found is None:
    parser.error('no head of this config teaches what the classifier teaches')
  train, shares = parallel.compile_train(experiment.train_step()), parallel.compile_eval(found)
  hyper = parallel.replicate(experiment.hyper)
  state = parallel.replicate(experiment.create_state(experiment.initial_key))
  batches = experiment.train_batches(0)
  stepping, measuring = [], []
  for round_number in range(options.rounds + 1):
    began = time.perf_counter()
    for _ in range(options.steps):
      batch = next(batches)
      state, _ = train(state, batch, hyper)
    jax.block_until_ready(state)
    stepped = time.perf_counter()
    jax.device_get(shares(state, {name: batch[name] for name in ('image', 'label')}, hyper))
    measured = time.perf_counter()
    if round_number:  # the first round compiles
      stepping.append((stepped - began) / options.steps)
      measuring.append(measured - stepped)
  step, measurement = statistics.median(stepping), statistics.median(measuring)
  ratio = measurement / step
  print(f'{jax.devices()[0].device_kind}, {options.rounds} rounds of {options.steps} steps')
  print(f'step {step:.4f} s, measurement {measurement:.4f} s: {ratio:.2f} steps')
  print(f'every 1000 steps (the default): {ratio / 1000:.2%} of the time; this config: {every}')


if __name__ == '__main__':
  main()
