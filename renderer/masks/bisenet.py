"""BiSeNet for the parts of a face: Yu et al., "BiSeNet: Bilateral Segmentation Network" (ECCV 2018), with a ResNet-18.

Tensors are named as in the published weights (79999_iter.pth of face-parsing.PyTorch, 19 classes of CelebAMask-HQ).

    picture (n, 3, h, w) --ResNet-18--> 1/8, 1/16, 1/32 --the last two refined, enlarged, added--> 1/8
                                         '------------------ joined with it -----> classes (n, 19, h, w)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_CLASSES = 19
FIRST_TENSOR = "cp.resnet.conv1.weight"
"""By which its weights are known."""


class _ConvBlock(nn.Module):
    """Convolve, normalise, ReLU; padding "same"."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of the next layer."""
        return torch.relu_(self.bn(self.conv(maps)))


class _Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of the next layer."""
        beside = self.bn2(self.conv2(torch.relu_(self.bn1(self.conv1(maps)))))
        return torch.relu_(beside + (self.downsample(maps) if self.downsample is not None else maps))


class _ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(_Residual(inputs, outputs, stride), _Residual(outputs, outputs, 1))
            for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        )

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps at 1/8, 1/16 and 1/32 of the size."""
        maps = functional.max_pool2d(torch.relu_(self.bn1(self.conv1(picture))), 3, 2, 1)
        eighth = self.layer2(self.layer1(maps))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Refinement(nn.Module):
    """Weighs channels by what the whole picture shows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _ConvBlock(inputs, outputs, 3)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps, weighed."""
        maps = self.conv(maps)
        return maps * torch.sigmoid(self.bn_atten(self.conv_atten(maps.mean((2, 3), keepdim=True))))


class _ContextPath(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resnet = _ResNet18()
        self.arm16, self.arm32 = _Refinement(256, 128), _Refinement(512, 128)
        self.conv_head32, self.conv_head16 = _ConvBlock(128, 128, 3), _ConvBlock(128, 128, 3)
        self.conv_avg = _ConvBlock(512, 128, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is seen at 1/8 of the size, and what it means there."""
        eighth, sixteenth, last = self.resnet(picture)
        mean = self.conv_avg(last.mean((2, 3), keepdim=True))
        context = self.conv_head32(functional.interpolate(self.arm32(last) + mean, size=sixteenth.shape[2:]))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(functional.interpolate(context, size=eighth.shape[2:]))


class _Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convblk = _ConvBlock(256, 256, 1)
        self.conv1, self.conv2 = nn.Conv2d(256, 64, 1, bias=False), nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, seen: Tensor, meant: Tensor) -> Tensor:
        """Return both, joined."""
        maps = self.convblk(torch.cat([seen, meant], dim=1))
        weights: Tensor = self.conv2(torch.relu_(self.conv1(maps.mean((2, 3), keepdim=True))))
        joined: Tensor = maps + maps * torch.sigmoid(weights)
        return joined


class _Output(nn.Module):
    def __init__(self, inputs: int, between: int) -> None:
        super().__init__()
        self.conv = _ConvBlock(inputs, between, 3)
        self.conv_out = nn.Conv2d(between, NUM_CLASSES, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the classes."""
        classes: Tensor = self.conv_out(self.conv(maps))
        return classes


class BiSeNet(nn.Module):
    """The network. Its two outputs at other depths serve training alone; they are here for the names of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.cp, self.ffm, self.conv_out = _ContextPath(), _Fusion(), _Output(256, 256)
        self.conv_out16, self.conv_out32 = _Output(128, 64), _Output(128, 64)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the classes (n, 19, h, w), before softmax, of pictures (n, 3, h, w), normalised as ImageNet's."""
        classes = self.conv_out(self.ffm(*self.cp(picture)))
        whole: Tensor = functional.interpolate(classes, size=picture.shape[2:], mode="bilinear", align_corners=True)
        return whole
