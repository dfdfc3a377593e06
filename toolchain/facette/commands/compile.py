"""``facette compile``: networks in, one bundle out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from facette.commands.common import Commands, folder_option, new_command, steps, write_json
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision

if TYPE_CHECKING:
    from facette.compile import Job
    from facette.recipe import Recipe

DEFAULT_FACES = ("utkface-128.zip", "celeba-small-10k.zip")

_EXAMPLES = """  facette compile --target x86-cpu
  facette compile --target x86-cpu --explain
  facette compile --target x86-cpu --recipe retinaface-mobilefacenet --weights weights/ --data data/
  facette compile --target raspberry-pi-5 --precision int8 --faces my-faces/
  facette compile --target x86-cpu --data data/ --budget "lfw>=97 size<=1.5MB latency<=2ms" --keep 0.75 --keep 0.5 --plot front.png
  facette compile --target my-board.toml --recipe my-recipe.toml --output robot.facette

int8 must earn its place: it ships only where it is faster than float and passes the gate. With --data the gate is LFW
verification on folds 1 to 5 against the uncompressed network, a loss judged over all pairs that their photos make, a floor or
budget by the pairs that they list; without, the embeddings' distance from it."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "compile", "compile networks for a device into one bundle", _EXAMPLES, run)
    command.add_argument("--target", required=True, help="a name that `facette targets` lists, or a .toml file")
    command.add_argument("--recipe", default="default", help="a recipe's name or .toml file (default: Facette's own networks)")
    command.add_argument("--output", "-o", type=Path, metavar="FILE", help="default: RECIPE-TARGET.facette")
    command.add_argument("--weights", type=Path, metavar="FOLDER", help="where the recipe's weights lie (or FACETTE_WEIGHTS)")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="with LFW: gate and match threshold (or FACETTE_DATA)")
    command.add_argument(
        "--faces",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="folder, .zip or .csv of photos to calibrate with and, given again, to train on; never LFW "
        f"(default: {' and '.join(DEFAULT_FACES)} in --data)",
    )
    command.add_argument("--photos", type=Path, metavar="FOLDER", help="real faces for parity and the golden certificate")
    command.add_argument("--engine", action="append", default=[], help="only this engine; may be given again")
    command.add_argument("--precision", action="append", default=[], choices=get_args(Precision), help="only this precision")
    command.add_argument("--threads", type=int, help="intra-op threads, in place of the target's")
    command.add_argument("--budget", metavar="TERMS", help='search: e.g. "lfw>=99.0 size<=1.5MB latency<=2ms"')
    command.add_argument("--trials", type=int, default=40, help="candidates that a search looks at (default: 40)")
    command.add_argument(
        "--keep", type=float, action="append", default=[], help="a search may prune to this share of the MACs; may be given again"
    )
    command.add_argument("--recovery", type=int, default=0, metavar="STEPS", help="of distillation after a search's pruning")
    command.add_argument(
        "--study", metavar="URL", help="where a search is kept: an SQLite file (default: in the cache), or PostgreSQL"
    )
    command.add_argument("--plot", type=Path, metavar="FILE", help="of a search: the Pareto plot, .png or .svg")
    command.add_argument("--commercial", action="store_true", help="refuse weights that may not be used commercially")
    command.add_argument("--sign", type=Path, metavar="KEY.pem", help="sign with this Ed25519 private key")
    command.add_argument("--explain", action="store_true", help="print every candidate, what it measured and why it lost")
    command.add_argument("--json", metavar="FILE", help="write the decision table; - for standard output")
    command.add_argument("--no-cache", action="store_true", help="export and measure everything anew")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    import tempfile
    from dataclasses import replace

    from facette.cache import Cache, default_folder
    from facette.compile import Job, compile_bundle
    from facette.compile_report import to_table
    from facette.data.photos import golden_licence, golden_photos
    from facette.recipe import load_recipe
    from facette.target import load_target

    target, recipe = load_target(arguments.target), load_recipe(arguments.recipe)
    if arguments.threads is not None and arguments.threads < 1:
        raise FacetteError(f"--threads must be at least 1, but got {arguments.threads}")
    choices = replace(
        recipe.compile,
        engines=tuple(arguments.engine) or recipe.compile.engines,
        precisions=tuple(arguments.precision) or recipe.compile.precisions,
        threads=arguments.threads or recipe.compile.threads,
    )
    data_dir = folder_option(arguments.data, "FACETTE_DATA")
    output = arguments.output or Path(f"{recipe.name}-{target.name}.facette")
    with tempfile.TemporaryDirectory() as fresh, steps() as tell:
        job = Job(
            recipe=replace(recipe, compile=choices),
            target=target,
            output=output,
            photos=golden_photos(arguments.photos),
            photos_licence=golden_licence(arguments.photos),
            cache=Cache(Path(fresh) if arguments.no_cache else default_folder()),
            weights_folder=folder_option(arguments.weights, "FACETTE_WEIGHTS"),
            data_dir=data_dir,
            faces=faces_option(arguments.faces, data_dir),
            commercial=arguments.commercial,
            private_key_pem=_read_key(arguments.sign),
            tell=tell,
        )
        if arguments.budget:
            job = replace(job, recipe=_search(arguments, job))
        manifest, report = compile_bundle(job)
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.json == "-":
        return
    if arguments.explain:
        print(to_table(report))
    for row in report.rows:
        if row.verdict == "shipped":
            speed = "not measured here" if row.latency_ms is None else f"{row.latency_ms:.2f} ms"
            gain = f", {row.speedup:.2f}× stock ONNX Runtime" if row.speedup else ""
            print(f"{row.role}: {row.engine} {row.precision}, form {row.form}, {speed}{gain}")
    if target.remark:
        print(f"{target.name}: {target.remark}")
    print(f"match threshold: {manifest.match.threshold:.4f}, from {manifest.match.source}")
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


def _search(arguments: argparse.Namespace, job: Job) -> Recipe:
    """The recipe within the budget; a search that was cut off goes on with the same command."""
    from facette.compile import search_recipe
    from facette.embedder_search import Wish
    from facette.search.budget import parse_budget
    from facette.search.front import result_figure, write_figure
    from facette.search.outcome import to_table

    wish = Wish(
        budget=parse_budget(arguments.budget),
        trials=arguments.trials,
        study=arguments.study or job.cache.folder / "studies.sqlite",
        keeps=(1.0, *arguments.keep),
        recovery=arguments.recovery,
    )
    recipe, result = search_recipe(job, wish)
    if arguments.plot:
        write_figure(result_figure(result), arguments.plot)
    if arguments.explain:
        print(to_table(result))
    if arguments.json != "-":
        print(result.verdict())
    return recipe


def faces_option(named: list[Path], data_dir: Path | None) -> tuple[Path, ...]:
    """Photos of faces: those named, else the usual ones that the data folder holds.

    Raises:
        FacetteError: one that is named isn't there.
    """
    missing = [path for path in named if not path.exists()]
    if missing:
        raise FacetteError(f"--faces {missing[0]}: no such file or folder")
    usual = [data_dir / name for name in DEFAULT_FACES] if data_dir else []
    return tuple(named) or tuple(path for path in usual if path.is_file())


def _read_key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    if not path.is_file():
        raise FacetteError(f"--sign {path}: no such file; make a key with: openssl genpkey -algorithm ed25519 -out KEY.pem")
    return path.read_bytes()
