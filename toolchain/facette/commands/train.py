"""``facette train``: make the weights of Facette's own networks, or of one's own by a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from facette.commands.common import Commands, folder_option, new_command
from facette.train.allocator import keep_freed_memory
from facette_runtime.errors import FacetteError

_EXAMPLES = """  facette train detector --data data/ --teacher retinaface-mobilenet025.safetensors --run runs/detect
  facette train embedder --data data/ --teacher retinaface-mobilenet025.safetensors --run runs/embed
  facette train embedder --recipe my.toml --data data/ --teacher retinaface-mobilenet025.safetensors --run runs/mine

An embedder's recipe names the student (widths of a network cut out of dlib's, or any network), its teachers (none: dlib's
original; several: an ensemble), and may ask for hints of the teacher's features, a margin softmax on the data's labels, and a
TensorBoard log. Data are zip files, folders with a sub-folder for each person, or CSV files with the columns path,label.
A round of a recipe takes what it does not say from the round before it.

A run that was cut off goes on exactly where its last checkpoint was: give the same command again. Another recipe is refused, except
for a round more, which goes on from the finished run."""

_DEFAULT = {"detector": "facette-detect", "embedder": "facette-embed"}


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "train", "train a network by distillation, on a CPU or one GPU", _EXAMPLES, run)
    command.add_argument("kind", choices=list(_DEFAULT), help="what to train")
    command.add_argument("--recipe", metavar="NAME", help="a training recipe's name or .toml file (default: facette's own)")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="with the recipe's pictures (or FACETTE_DATA)")
    command.add_argument("--teacher", required=True, type=Path, metavar="FILE", help="RetinaFace weights: finds the faces")
    command.add_argument("--weights", type=Path, metavar="FOLDER", help="with the weights a recipe names (or FACETTE_WEIGHTS)")
    command.add_argument("--run", required=True, type=Path, metavar="FOLDER", dest="run_dir", help="checkpoints, log and weights")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    data = folder_option(arguments.data, "FACETTE_DATA")
    if data is None:
        raise FacetteError("--data: missing; name the folder with the recipe's pictures, or set FACETTE_DATA")
    recipe = _recipe_path(arguments.recipe or _DEFAULT[arguments.kind])
    keep_freed_memory()
    if arguments.kind == "detector":
        _train_detector(recipe, data, arguments.teacher, arguments.run_dir)
    else:
        weights = folder_option(arguments.weights, "FACETTE_WEIGHTS")
        _train_embedder(recipe, data, arguments.teacher, weights, arguments.run_dir)


def _recipe_path(name: str) -> Path:
    folder = Path(__file__).parents[1] / "train" / "recipes"
    path = Path(name) if name.endswith(".toml") else folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in folder.glob("*.toml")))
        raise FacetteError(f"unknown training recipe {name!r}; those that come with Facette: {known}, or the path of a .toml file")
    return path


def _train_detector(recipe: Path, data: Path, teacher: Path, run_dir: Path) -> None:
    from facette.train.detector import train_detector
    from facette.train.detector_recipe import DetectorTraining
    from facette.train.recipe_file import read_training_recipe

    print(train_detector(read_training_recipe(DetectorTraining, recipe), data, teacher, run_dir))


def _train_embedder(recipe: Path, data: Path, finder_weights: Path, weights: Path | None, run_dir: Path) -> None:
    from facette.entries import REFERENCE, detector_entry
    from facette.loading import SearchPath, load_detector
    from facette.recipe import DetectorRecipe
    from facette.reference import reference_engine
    from facette.train.embedder import EmbedderRecipe, load_teachers, train_embedder
    from facette.train.recipe_file import read_training_recipe
    from facette_runtime.detect import Detector

    path = str(finder_weights.resolve())
    finder = load_detector(DetectorRecipe("retinaface-mobilenet025", path), SearchPath(finder_weights.parent))
    detect = Detector(reference_engine(finder), detector_entry(finder, REFERENCE))
    settings = read_training_recipe(EmbedderRecipe, recipe)
    search = SearchPath(recipe.parent, weights)
    agreement = train_embedder(settings, data, run_dir, detect, load_teachers(settings, search), search)
    made = run_dir / f"{settings.name}.safetensors"
    print(f"{made}: on the held-back faces {agreement.distance:.3f} from the target, cosine {agreement.cosine:.4f}")
