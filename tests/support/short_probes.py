"""A probe short enough for tests: CNN-8 at an eighth of its width, as its authors begin it."""

CHANGES = {
  'model.variant': 'cnn8',
  'model.width': 0.125,
  'data.image_size': 64,
  'data.resize': 64,
  'batch_size': 8,
  'duration': '8 steps',
  'schedule.name': 'constant',
  'schedule.warmup': '0 steps',
}
ITERATIONS = 2
