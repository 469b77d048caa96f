"""The contestant of `step_time.py` that is timed: the step that `googlenet train` runs."""

import argparse
import time
from typing import Any

import numpy as np
from contestants import CLASSES, batch_of, variables


class JaxContestant:
  """The step that `googlenet train` runs."""

  def __init__(self, options: argparse.Namespace) -> None:
    from googlenet_jax import runtime

    runtime.configure()
    import jax

    from googlenet_jax.models.heads import without_heads
    from googlenet_jax.normalization import Normalization
    from googlenet_jax.training.config import defaults
    from googlenet_jax.training.config.durations import Durations
    from googlenet_jax.training.config.hyperparameters import hyperparameters
    from googlenet_jax.training.config.network import build_model
    from googlenet_jax.training.devices import parallelism
    from googlenet_jax.training.step import state, step

    self._jax = jax
    config = defaults()
    config.model.variant = options.variant
    config.model.dtype = options.dtype
    config.data.image_size = options.image_size
    config.batch_size = options.batch
    parallel = parallelism.DataParallel()
    images, labels = batch_of(options)
    self._batch = parallel.shard({'image': images, 'label': labels})
    hyper = hyperparameters(config, Durations(10_000), Normalization((128,) * 3, (64,) * 3))
    self._hyper = parallel.replicate(hyper)
    self._model = build_model(config.model, CLASSES)
    drawn = parallel.replicate(variables(options, heads=True))
    abstract = jax.eval_shape(
      lambda key: state.create_state(self._model, config, key), jax.random.key(0)
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    self._state = parallel.replicate(zeros).replace(**drawn)
    self._train_step = parallel.compile_train(step.make_train_step(self._model, config, {}))
    inference = self._model.clone(aux=())
    self._inference = jax.jit(
      lambda variables, batch, hyper: (
        inference.apply(variables, hyper['normalization'](batch['image'])).logits
      )
    )
    # Copied, because the step donates its own arrays.
    self._trunk = jax.tree.map(lambda leaf: leaf.copy(), without_heads(drawn))

  def describe(self) -> dict[str, Any]:
    """The device and the software that it runs on."""
    device = self._jax.devices()[0]
    return {'device': device.device_kind, 'jax': self._jax.__version__}

  def reference(self) -> dict[str, np.ndarray]:
    """Logits and gradients of the first images, without dropout."""
    import jax
    import jax.numpy as jnp

    from googlenet_jax.training.step import losses

    batch = {name: value[:2] for name, value in self._batch.items()}
    weights = dict.fromkeys(self._model.aux, 0.3)

    def loss(params: Any) -> tuple[Any, Any]:
      images = self._hyper['normalization'](batch['image'])
      variables = {'params': params, 'batch_stats': self._state.batch_stats}
      outputs = self._model.apply(variables, images)
      return losses.total_loss(outputs, batch['label'], weights, 0.0)[0], outputs.logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(self._state.params)
    kernel = gradients['conv1']['kernel']
    return {
      'logits': np.asarray(logits),
      'gradient': np.asarray(jnp.transpose(kernel, (3, 2, 0, 1))),
    }

  def train(self, steps: int) -> float:
    """The time for `steps` training steps, in seconds."""
    began = time.perf_counter()
    for _ in range(steps):
      self._state, metrics = self._train_step(self._state, self._batch, self._hyper)
    self._jax.block_until_ready((self._state, metrics))
    return time.perf_counter() - began

  def inference(self, steps: int) -> float:
    """The time for inference on `steps` batches, without heads, in seconds."""
    began = time.perf_counter()
    for _ in range(steps):
      logits = self._inference(self._trunk, self._batch, self._hyper)
    self._jax.block_until_ready(logits)
    return time.perf_counter() - began
