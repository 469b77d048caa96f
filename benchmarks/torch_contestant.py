"""The PyTorch contestants of `step_time.py`: the same network and step."""

import argparse
import time
from typing import Any

import numpy as np
import torch
from contestants import CLASSES, batch_of, variables
from torch_googlenet import TorchGoogLeNet


class TorchContestant:
  """The same network and step in PyTorch, with channels last, eager or compiled."""

  def __init__(self, name: str, options: argparse.Namespace) -> None:
    self._device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    # On a GPU, float32 matrix products and convolutions are in TF32, as in XLA by default.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    self._autocast = torch.autocast(
      self._device.type, torch.bfloat16, enabled=options.dtype == 'bfloat16'
    )
    images, labels = batch_of(options)
    self._images = torch.from_numpy(images).permute(0, 3, 1, 2).to(self._device)
    self._images = self._images.contiguous(memory_format=torch.channels_last)
    self._labels = torch.from_numpy(labels).long().to(self._device)

    def network(heads: bool) -> Any:
      net = TorchGoogLeNet(options.variant, options.image_size, CLASSES, heads)
      net.load(variables(options, heads)['params'])
      return net.to(self._device, memory_format=torch.channels_last)

    self._plain = network(heads=True)
    self._network, self._trunk = self._plain, network(heads=False).eval()
    weights = [p for p in self._plain.parameters() if p.ndim > 1]
    biases = [p for p in self._plain.parameters() if p.ndim == 1]
    self._optimizer = torch.optim.SGD(
      [{'params': weights, 'weight_decay': 2e-4}, {'params': biases}], lr=0.01, momentum=0.9
    )
    if name == 'torch.compile':
      self._network, self._trunk = torch.compile(self._plain), torch.compile(self._trunk)

  def describe(self) -> dict[str, Any]:
    """The device and the software that it runs on."""
    gpu = self._device.type == 'cuda'
    device = torch.cuda.get_device_name() if gpu else 'cpu'
    return {'device': device, 'torch': torch.__version__}

  def _normalized(self) -> Any:
    return (self._images.float() - 128) / 64

  def _loss(self, outputs: list[Any], labels: Any) -> Any:
    main, *aux = (torch.nn.functional.cross_entropy(o.float(), labels) for o in outputs)
    return main + 0.3 * sum(aux)

  def _finish(self) -> None:
    if self._device.type == 'cuda':
      torch.cuda.synchronize()

  def reference(self) -> dict[str, np.ndarray]:
    """Logits and gradients of the first images, without dropout."""
    self._plain.eval()
    outputs = self._plain(self._normalized()[:2])
    self._loss(outputs, self._labels[:2]).backward()
    found = {
      'logits': outputs[0].detach().cpu().numpy(),
      'gradient': self._plain.conv1.conv.weight.grad.cpu().numpy(),
    }
    self._optimizer.zero_grad()
    self._plain.train()
    return found

  def train(self, steps: int) -> float:
    """The time for `steps` training steps, in seconds."""
    began = time.perf_counter()
    for _ in range(steps):
      self._optimizer.zero_grad(set_to_none=True)
      with self._autocast:
        outputs = self._network(self._normalized())
      self._loss(outputs, self._labels).backward()
      self._optimizer.step()
    self._finish()
    return time.perf_counter() - began

  def inference(self, steps: int) -> float:
    """The time for inference on `steps` batches, without heads, in seconds."""
    began = time.perf_counter()
    with torch.inference_mode(), self._autocast:
      for _ in range(steps):
        self._trunk(self._normalized())
    self._finish()
    return time.perf_counter() - began
