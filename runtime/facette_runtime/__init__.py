"""Facette's device runtime: detect → align → embed → match from one bundle file.

Needs numpy, OpenCV and one inference engine; it never imports torch or the toolchain.
"""

__version__ = "0.1.0"
