# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # googlenet_jax in five minutes
#
# Build GoogLeNet, count its cost, train a narrow one on handwritten digits, see what it looks at,
# and measure one ablation. Everything runs on a CPU; the two trainings take about a minute each
# on two cores.
#
# This notebook is written from `examples/quickstart.py` by `make notebook`. Edit that file.

# %%
import pathlib

from googlenet_jax import runtime

runtime.configure()  # faster CPU kernels and a compilation cache; call it before importing JAX

import jax
import matplotlib.pyplot as plt
import numpy as np

from googlenet_jax.analysis.table import audit
from googlenet_jax.cli import main as googlenet
from googlenet_jax.data.augment import test_transform
from googlenet_jax.data.decode import decode_image
from googlenet_jax.evaluation import explain
from googlenet_jax.evaluation.predictors import open_predictors
from googlenet_jax.models import build
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.weights import bundle as bundles

RUNS = pathlib.Path('runs/quickstart')
EPOCHS = 4

# %% [markdown]
# ## Build
#
# A network is a Flax linen module. With `train=True` it also returns the logits of its auxiliary
# heads, which read the outputs of modules 4a and 4d.

# %%
model = build('googlenet', 'table1', classes=1000, aux=('4a', '4d'))
images = np.zeros([1, 224, 224, 3], np.float32)
keys = {name: jax.random.key(seed) for seed, name in enumerate(('params', 'dropout'))}
shapes = jax.eval_shape(lambda: model.init(keys, images, train=True))
outputs = jax.eval_shape(lambda v: model.apply(v, images, train=True, rngs=keys), shapes)
print('logits:', outputs.logits.shape, ' heads:', {k: v.shape for k, v in outputs.aux.items()})

# %% [markdown]
# ## Count
#
# Parameters are counted in the parameter tree, and multiply-adds in the traced computation.
# Narrower 1x1 reductions make the network smaller and cheaper.

# %%
print(f'{"reduction":>9} {"parameters":>12} {"multiply-adds":>15}')
for reduction in (0.25, 0.5, 1.0):
  found = audit(reduction=reduction)
  print(f'{reduction:>9} {found.params:>12,} {found.macs:>15,}')
naive = audit(variant='naive')
print(f'{"naive":>9} {naive.params:>12,} {naive.macs:>15,}')

# %% [markdown]
# ## Train
#
# Every command of `googlenet` can be called from Python. This one trains all nine modules, at a
# quarter of their width, on 1,438 scans of digits. Running the cell again finds the finished run.


# %%
def train(name, *overrides):
  """Trains the demo's config with some keys overridden; returns the work directory."""
  workdir = RUNS / name
  arguments = [
    f'--config.duration={EPOCHS} epochs',
    '--config.evaluation.every=1 epoch',
    '--config.evaluation.recalibrate=4',  # so short a run has poor running statistics
    *overrides,
  ]
  assert googlenet(['demo', f'--workdir={workdir}', *arguments]) == 0
  return workdir


baseline = train('baseline')

# %% [markdown]
# ## Predict, and look where the network looks
#
# With published weights (`googlenet download bvlc`) and photos in `photos/`, this classifies
# photos. Without them, it classifies test digits with the network from above. Grad-CAM then
# colors the places that speak for the predicted class.

# %%
weights = pathlib.Path('weights/bvlc.safetensors')
photos = sorted(pathlib.Path('photos').glob('*.jpg'))
if weights.exists() and photos:
  bundle = bundles.load(weights)
  files = [path.read_bytes() for path in photos[:4]]
else:
  (predictor,) = open_predictors([baseline], [], runtime.cache_dir())
  bundle = predictor.bundle
  files = [predictor.test.records[i]['image'] for i in range(4)]

shown = [decode_image(file, 'image') for file in files]  # uint8[h, w, 3]


# %%
def classify(image):
  """Index and probability of the likeliest class."""
  preprocessing = bundle.preprocessing
  crop = test_transform(image, preprocessing.image_size, preprocessing.resize)[None]
  logits = bundle.model.apply(bundle.variables, preprocessing.normalization(crop)).logits[0]
  probabilities = jax.nn.softmax(logits)
  return int(probabilities.argmax()), float(probabilities.max())


figure, axes = plt.subplots(2, len(shown), figsize=(9, 5), squeeze=False)
for image, (above, below) in zip(shown, axes.T, strict=True):
  index, probability = classify(image)
  above.imshow(image)
  above.set_title(f'{bundle.classes[index].partition(",")[0]}\n{probability:.0%}', fontsize=8)
  below.imshow(explain.overlay([bundle], image, index))
  above.axis('off')
  below.axis('off')
figure.savefig(RUNS / 'grad_cam.png', dpi=100)
plt.show()

# %% [markdown]
# ## One ablation
#
# Do the 1x1 reductions need their width? The same training again, with a quarter of it.

# %%
narrow = train('narrow', '--config.model.reduction=0.25')

figure, axis = plt.subplots(figsize=(6, 3.5), layout='constrained')
for name, workdir in (('printed reductions', baseline), ('a quarter of them', narrow)):
  lines = [line for line in read_metrics(workdir / 'metrics.jsonl') if 'eval/top1_error' in line]
  steps = [line['step'] for line in lines]
  errors = [100 * line['eval/top1_error'] for line in lines]
  axis.plot(steps, errors, marker='o', label=name)
  print(f'{name}: {errors[-1]:.2f}% of the test digits are wrong')
axis.set(xlabel='step', ylabel='top-1 error on 359 test digits (%)')
axis.legend()
figure.savefig(RUNS / 'ablation.png', dpi=100)
plt.show()

# %% [markdown]
# One seed proves nothing: a digit is 0.28 points. `googlenet sweep` repeats an ablation under
# several seeds, and `googlenet report` gives the differences with their confidence intervals:
#
# ```
# googlenet sweep --config=experiments/digits.py:study --sweep=reduction --root=runs/studies
# googlenet report runs/studies
# ```
