"""The one door to OpenCV: imported on first use, with its own threads off."""

import functools
import types


@functools.cache
def opencv() -> types.ModuleType:
  """The module cv2, set up once in each process that transforms images.

  OpenCV would split a resize to more than about 300 x 300 pixels over all cores, inside each of the
  pipeline's threads. The pipeline already keeps every core busy with an image of its own.
  """
  import cv2

  cv2.setNumThreads(0)
  return cv2
