# SPDX-License-Identifier: MIT
"""Random numbers of golden cases: NumPy's RandomState, whose streams are frozen. PyTorch's differ
between its versions and processors."""
import numpy as np
import torch


class Random:
    """A stream of numbers."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed)

    def normal(self, *shape, scale=1.0):
        """Normal numbers on a grid of 1/128 below 8, which float16 holds exactly."""
        x = np.round(self.state.standard_normal(shape) * scale * 128) / 128
        return torch.from_numpy(np.clip(x, -7.9921875, 7.9921875))

    def exact(self, *shape, scale=1.0):
        """Normal numbers that float32 holds exactly."""
        x = (self.state.standard_normal(shape) * scale).astype(np.float32)
        return torch.from_numpy(np.asarray(x, dtype=np.float64))

    def labels(self, n, classes):
        return torch.from_numpy(self.state.randint(0, classes, n).astype(np.int64))
