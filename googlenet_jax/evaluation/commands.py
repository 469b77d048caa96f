"""Implements `googlenet evaluate`, `predict` and `export`, and `convert` for runs."""

import json
import os
import pathlib
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from googlenet_jax.data.decode import decode_image
from googlenet_jax.data.sources.files import read_file
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation import pages, predictions, render
from googlenet_jax.evaluation.data import open_data, own_data
from googlenet_jax.evaluation.explain import check, overlay
from googlenet_jax.evaluation.export import export
from googlenet_jax.evaluation.measures import result
from googlenet_jax.evaluation.predict import find_images
from googlenet_jax.evaluation.predict import predict as predict_files
from googlenet_jax.evaluation.predict_split import predict_split
from googlenet_jax.evaluation.predictions import Predictions
from googlenet_jax.evaluation.predictors import (
  Predictor,
  all_matching,
  open_predictors,
  without_auxiliary,
)
from googlenet_jax.evaluation.table3 import table3 as paper_table
from googlenet_jax.weights import convert

TABLE3_CROPS = (1, 10, 144)
Progress = Callable[[int, int], None]


def evaluate(
  *,
  workdirs: Sequence[pathlib.Path],
  weights: Sequence[pathlib.Path],
  cache_dir: pathlib.Path,
  data: str | None = None,
  split: str | None = None,
  crops: int | None = None,
  parameters: str | None = None,
  batch_size: int | None = None,
  table3: bool = False,
  format: str = 'text',
  progress: Progress = lambda done, total: None,
) -> tuple[str, Predictions]:
  """Evaluates one network or an ensemble; returns the text to print and the predictions.

  Args:
    workdirs: work directories, whose newest checkpoints are used.
    weights: files of weights.
    cache_dir: the directory for embedded data.
    data: the images, as accepted by `open_data`; by default the run's own test images.
    split: the split of `data`; by default test, or all images of a folder or manifest.
    crops: 1, 10 or 144; by default 1.
    parameters: `raw` or `ema`; by default as in each run's config.
    batch_size: number of crops that a network is given at once; by default about 128, or fewer if
      they are large.
    table3: whether to print the paper's Table 3 along with the figures.
    format: `text`, `markdown` or `json`.
    progress: called with the number of images done and the number of all images.

  Raises:
    UserError: arguments are invalid or exclude each other, a network or an image cannot be read, or
      a class of the images is not among the networks' classes.
  """
  if table3 and crops is not None:
    raise UserError(f'--crops={crops}: not accepted with --table3, which has its own')
  if split is not None and data is None:
    raise UserError(f'--split={split}: accepted with --data only')
  predictors = open_predictors(workdirs, weights, cache_dir, parameters)
  if data is None:
    images, on_bad_image = own_data(predictors)
  else:
    images = open_data(data, split, predictors[0].bundle.classes, cache_dir)
    on_bad_image = 'stop'
  found, heads = predict_split(
    predictors,
    images,
    TABLE3_CROPS if table3 else (crops or 1,),
    batch_size=batch_size,
    on_bad_image=on_bad_image,
    progress=progress,
  )
  if table3:
    return render.table3(paper_table(found), format), found
  return render.result({**result(found), **_about(predictors, heads)}, format), found


def evaluate_saved(
  paths: Sequence[pathlib.Path],
  *,
  crops: int | None = None,
  table3: bool = False,
  format: str = 'text',
) -> tuple[str, Predictions]:
  """Combines saved predictions of the same images; returns the same as `evaluate`.

  Args:
    paths: files that `predictions.save` has written, or globs of such files.
    crops: one of the numbers of crops in the files; None if there is only one.
    table3: whether to print the paper's Table 3 along with the figures.
    format: `text`, `markdown` or `json`.

  Raises:
    UserError: a file cannot be read, its images or classes differ from the first file's, the files
      do not all have `crops`, or `crops` is given although `table3` is set.
  """
  if table3 and crops is not None:
    raise UserError(f'--crops={crops}: not accepted with --table3, which uses those in the files')
  found = predictions.combine(
    [(str(path), predictions.load(path)) for path in all_matching('--from_predictions', paths)]
  )
  if table3:
    return render.table3(paper_table(found), format), found
  return render.result(result(found, crops=crops), format), found


def convert_run(
  workdir: pathlib.Path,
  destination: pathlib.Path,
  *,
  cache_dir: pathlib.Path,
  parameters: str | None = None,
  to: str | None = None,
  fold_normalization: bool = False,
) -> convert.Conversion:
  """Writes the newest checkpoint of a run, including its heads, as a file of weights.

  Args:
    workdir: the run's work directory.
    destination: the file to write, as in `weights.convert.convert`.
    cache_dir: the directory for embedded data.
    parameters: `raw` or `ema`; by default as in the run's config.
    to: as in `weights.convert.convert`.
    fold_normalization: as in `weights.convert.convert`.

  Raises:
    UserError: the folder is not a run's work directory, has no checkpoint or cannot be read, or the
      network cannot be written to the destination; in these cases nothing is written.
  """
  convert.check_destination(destination, to)
  if not (workdir / 'config.json').exists():
    accepted = 'a file of weights, or the folder of a run'
    raise UserError(f'{workdir}: a folder without config.json; accepted: {accepted}')
  (predictor,) = open_predictors([workdir], [], cache_dir, parameters)
  conversion = convert.Conversion(predictor.bundle, 'checkpoint of a run', 'plain')
  return convert.write(conversion, destination, to=to, fold_normalization=fold_normalization)


def export_one(
  out: pathlib.Path,
  *,
  workdir: pathlib.Path | None,
  weights: pathlib.Path | None,
  cache_dir: pathlib.Path,
  parameters: str | None = None,
  preprocessing: bool = False,
  batch_size: int | None = None,
) -> dict[str, Any]:
  """Writes one network for other programs; returns what `export` returns.

  Args:
    out: the file or folder, as in `export`.
    workdir: a run's work directory, or a glob that matches one; None if `weights` is given.
    weights: a file of weights, or a glob that matches one; None if `workdir` is given.
    cache_dir: the directory for embedded data.
    parameters: `raw` or `ema`; by default as in the run's config.
    preprocessing: whether the exported function normalizes images itself.
    batch_size: number of images at a time; None for any number.

  Raises:
    UserError: several networks match, the network cannot be opened, or `export` cannot write it.
  """
  workdirs, files = ([path] if path else [] for path in (workdir, weights))
  predictors = open_predictors(workdirs, files, cache_dir, parameters)
  if len(predictors) > 1:
    raise UserError(f'{len(predictors)} networks match; accepted: one per file')
  return export(predictors[0].bundle, out, preprocessing=preprocessing, batch=batch_size)


def predict(
  images: Sequence[str],
  *,
  workdirs: Sequence[pathlib.Path],
  weights: Sequence[pathlib.Path],
  cache_dir: pathlib.Path,
  crops: int = 1,
  parameters: str | None = None,
  batch_size: int | None = None,
  out: pathlib.Path | None = None,
  explain: bool = False,
  format: str = 'text',
) -> Iterator[str]:
  """Classifies image files; yields the text to print for each image as soon as it is ready.

  Args:
    images: files, folders and globs.
    workdirs: work directories, whose newest checkpoints are used.
    weights: files of weights; several networks form an ensemble.
    cache_dir: the directory for embedded data.
    crops: 1, 10 or 144.
    parameters: `raw` or `ema`; by default as in each run's config.
    batch_size: number of crops that a network is given at once; by default about 128, or fewer if
      they are large.
    out: a page of images and bars to write, .html or .png.
    explain: whether to show on that page where the networks look.
    format: `text` or `json` (one object per line).

  Raises:
    UserError: an argument is invalid, a network cannot be opened, or, raised after all other files
      are done, some files could not be read.
  """
  if explain and out is None:
    raise UserError(f'--explain: accepted with --out=FILE ({" or ".join(pages.SUFFIXES)})')
  files = find_images(images)
  if out:
    pages.check_path(out, len(files))
    for file in files:
      if _is_pipe(file):
        raise UserError(f'{file}: a pipe is accepted without --out, which reads each image twice')
  predictors = open_predictors(workdirs, weights, cache_dir, parameters)
  bundles = [without_auxiliary(predictor.bundle) for predictor in predictors]
  if explain:
    check(bundles)
  bad: list[str] = []
  entries = []
  for found in predict_files(bundles, files, crops=crops, batch_size=batch_size, bad=bad):
    if format == 'json':
      classes = [one._asdict() for one in found.classes]
      yield json.dumps({'file': str(found.file), 'classes': classes}, ensure_ascii=False)
    else:
      rows = (f'  {one.probability:>7.2%}  {one.name}' for one in found.classes)
      yield '\n'.join([str(found.file), *rows])
    if out:
      image = decode_image(read_file(found.file), str(found.file))
      pictures = [pages.thumbnail(image)]
      if explain:
        pictures.append(overlay(bundles, image, found.classes[0].label))
      entries.append(pages.Entry(str(found.file), pictures, found.classes))
  if out and entries:
    names = [pathlib.PurePath(predictor.name).name for predictor in predictors]
    counted = render.count(len(entries), 'image')
    pages.save(entries, out, f'{", ".join(names)}: {counted}')
  if bad:
    raise UserError(f'{len(bad)} of {len(files)} files cannot be read')


def _is_pipe(file: pathlib.Path) -> bool:
  try:
    return stat.S_ISFIFO(os.stat(file).st_mode)
  except OSError:  # reported when it is read
    return False


def _about(predictors: Sequence[Predictor], heads: dict[str, Any]) -> dict[str, Any]:
  """The part of a result about a single run; empty for an ensemble or a file of weights."""
  if len(predictors) > 1 or predictors[0].step is None:
    return {'heads': heads} if heads else {}
  return {'step': predictors[0].step, 'parameters': predictors[0].parameters, 'heads': heads}
