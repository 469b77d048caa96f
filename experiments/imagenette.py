"""Imagenette (ten classes of ImageNet, 9,469 training images), 128x128 from the 160-pixel files.

  googlenet download imagenette
  googlenet train --config=experiments/imagenette.py --workdir=runs/imagenette \
    --config.data.source=prepared:data/imagenette

`folder:PATH` with the unpacked imagenette2-160 works as well. Without either,
`tfds:imagenette/160px-v2` is read in ArrayRecord. If TFDS has written it in TFRecord, `googlenet
prepare tfds:imagenette/160px-v2 OUT` converts it for `--config.data.source=prepared:OUT`. It has
not been run to the end yet, which needs an accelerator.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  if arg:
    raise ValueError(f'argument {arg!r}: imagenette takes none')
  config = defaults()
  config.duration = '40 epochs'
  config.batch_size = 64
  config.model.variant = 'bn'

  config.data.source = 'tfds:imagenette/160px-v2'
  config.data.eval_split = 'validation'
  config.data.image_size = 128
  config.data.resize = 160
  config.data.augment.preset = 'crop_flip'

  config.optimizer.learning_rate = 0.05
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 5e-4
  config.loss.label_smoothing = 0.1
  config.schedule.name = 'cosine'
  config.schedule.warmup = '2 epochs'
  config.evaluation.every = '5 epochs'
  config.evaluation.batch_size = 128
  config.checkpoint.every = '5 epochs'
  return config
