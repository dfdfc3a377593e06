"""From a picture to a network's input. The host calibrates and verifies with this very code."""

from __future__ import annotations

import cv2
import numpy as np

from facette_runtime.manifest import ColorOrder, Letterbox
from facette_runtime.types import Image


def letterbox(image_bgr: Image, size_wh: tuple[int, int], rule: Letterbox) -> tuple[Image, float]:
    """Scales a picture to fit ``size_wh``, keeps its aspect ratio, puts it top left and fills the rest.

    Args:
        image_bgr: uint8 [h, w, 3], BGR.
        size_wh: width and height of the result.
        rule: fill colour, and whether small pictures are enlarged.

    Returns:
        The picture, uint8 [height, width, 3], BGR; and the scale: picture pixels × scale = result pixels.
    """
    width, height = size_wh
    scale = min(width / image_bgr.shape[1], height / image_bgr.shape[0])
    if not rule.upscale:
        scale = min(scale, 1.0)
    if scale != 1.0:
        scaled_wh = (max(1, round(image_bgr.shape[1] * scale)), max(1, round(image_bgr.shape[0] * scale)))
        # Area averaging keeps what bilinear sampling would skip when the picture shrinks by more than half.
        method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        image_bgr = cv2.resize(image_bgr, scaled_wh, interpolation=method)
    if image_bgr.shape[:2] == (height, width):
        return np.ascontiguousarray(image_bgr), scale
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = rule.pad_bgr
    canvas[: image_bgr.shape[0], : image_bgr.shape[1]] = image_bgr
    return canvas, scale


def to_network(image_bgr: Image, color_order: ColorOrder) -> Image:
    """Puts pixels into a network's channel order.

    Args:
        image_bgr: uint8 [h, w, 3], BGR.
        color_order: what the network was trained on.

    Returns:
        uint8 [h, w, 3], contiguous.
    """
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB) if color_order == "rgb" else np.ascontiguousarray(image_bgr)
