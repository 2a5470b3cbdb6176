"""The heads on top of the features: segmentation (LargeFOV) and affinity. Method section 1."""

import torch.nn.functional as F
from torch import Tensor, nn


class LargeFOV(nn.Module):
    """Segmentation head: two dilated 3x3 convolutions and a 1x1 one, without biases.

    Chen et al., "Semantic image segmentation with deep convolutional nets and fully connected CRFs", 2015.
    """

    def __init__(self, width: int, channels: int, outputs: int, dilation: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """features B D h w -> logits B C+1 h w."""
        return self.conv3(F.relu(self.conv2(F.relu(self.conv1(features)))))


class Affinity(nn.Module):
    """Affinity of every pair of tokens from the attention logits of the last two blocks."""

    def __init__(self, maps: int):
        super().__init__()
        self.project = nn.Conv2d(maps, 1, 1)

    def forward(self, attention: Tensor) -> Tensor:
        """attention B 2H N N -> affinity B N N in (0, 1), symmetric."""
        projected: Tensor = self.project(attention)[:, 0]
        return self._symmetric(projected).sigmoid()

    def _symmetric(self, projected: Tensor) -> Tensor:
        """Projecting A + A^T is projecting A, plus its transpose, less the bias counted twice."""
        assert self.project.bias is not None
        return projected + projected.transpose(1, 2) - self.project.bias
