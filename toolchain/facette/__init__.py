"""Facette's toolchain: compiles face-recognition networks for a named device and proves that they still recognise people."""

from facette_runtime import __version__

__all__ = ["__version__"]
