"""Convolutions through fewer channels, in closed form: the start of a network of lower rank.

A 3×3 convolution over many channels spends most of its multiplications on directions of its input that hardly vary, or that its
filters hardly hear. Projecting the input by a 1×1 convolution first saves them. The same idea on the side of the outputs is
Zhang, Zou, He & Sun, "Accelerating very deep convolutional networks for classification and detection", 2015, section 3.1. On
dlib's network projecting the input leaves less error at equal cost; the stem, with three input channels, is the exception.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facette.factorize import Inputs, projection
from facette.train.least_squares import CHUNK, fit_conv, sampled


def fit_projected(layers: nn.Sequential, x: Tensor, wanted: Tensor, inherited: Tensor, generator: torch.Generator) -> None:
    """Sets a 1×1 convolution and the k×k one after it so that together they turn x into ``wanted``.

    The 1×1 takes the directions of x that ``inherited`` hears most (see `facette.factorize.projection`); the second convolution is
    then solved by least squares.

    Args:
        layers: 1×1 without bias, k×k with one; their parameters are overwritten.
        x: float32 [n, inputs, h, w].
        wanted: float32 [n, outputs, h', w'].
        inherited: [outputs, inputs, k, k], the filters to be replaced.
        generator: of the positions sampled.
    """
    first, conv = layers
    assert isinstance(first, nn.Conv2d)
    assert isinstance(conv, nn.Conv2d)
    seen = sampled(x).double()
    inputs = Inputs(seen.mean(1), torch.cov(seen, correction=0))
    down, up = projection(inherited, first.out_channels, inputs)
    first.weight.copy_(down[:, :, None, None])
    start = torch.einsum("oihw,ir->orhw", inherited, up.float())
    fit_conv(conv, torch.cat([first(part) for part in torch.split(x, CHUNK)]), wanted, start, generator)


def mix_outputs(layers: nn.Sequential, x: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Sets a k×k convolution and the 1×1 one after it to the principal components of the outputs of one whole convolution.

    Args:
        layers: k×k without bias, 1×1 with one; their parameters are overwritten.
        x: float32 [n, inputs, h, w].
        weight: [outputs, inputs, k, k] of the convolution to be replaced.
        bias: [outputs].
    """
    conv, mix = layers
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(mix, nn.Conv2d)
    assert mix.bias is not None
    outputs = sampled(nn.functional.conv2d(x, weight, None, conv.stride))
    axes = torch.linalg.eigh(torch.cov(outputs))[1].flip(1)[:, : conv.out_channels]
    conv.weight.copy_(torch.einsum("or,oihw->rihw", axes, weight))
    mix.weight.copy_(axes[:, :, None, None])
    mean = outputs.mean(1)
    mix.bias.copy_(bias + mean - axes @ (axes.T @ mean))
