"""``facette compile``: networks in, one bundle out."""

from __future__ import annotations

import argparse
from pathlib import Path

from facette.commands.common import Commands, folder_option, new_command, steps, write_json
from facette_runtime.errors import FacetteError

_EXAMPLES = """  facette compile --target x86-cpu
  facette compile --target x86-cpu --explain
  facette compile --target x86-cpu --recipe retinaface-mobilefacenet --weights weights/ --data data/
  facette compile --target my-board.toml --recipe my-recipe.toml --output robot.facette"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "compile", "compile networks for a device into one bundle", _EXAMPLES, run)
    command.add_argument("--target", required=True, help="a name that `facette targets` lists, or a .toml file")
    command.add_argument("--recipe", default="default", help="a recipe's name or .toml file (default: Facette's own networks)")
    command.add_argument("--output", "-o", type=Path, metavar="FILE", help="default: RECIPE-TARGET.facette")
    command.add_argument("--weights", type=Path, metavar="FOLDER", help="where the recipe's weights lie (or FACETTE_WEIGHTS)")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="with LFW: derive the match threshold (or FACETTE_DATA)")
    command.add_argument("--photos", type=Path, metavar="FOLDER", help="real faces for parity and the golden certificate")
    command.add_argument("--engine", action="append", default=[], help="only this engine; may be given again")
    command.add_argument("--precision", action="append", default=[], choices=["fp32", "fp16"], help="only this precision")
    command.add_argument("--threads", type=int, help="intra-op threads, in place of the target's")
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
            data_dir=folder_option(arguments.data, "FACETTE_DATA"),
            commercial=arguments.commercial,
            private_key_pem=_read_key(arguments.sign),
            tell=tell,
        )
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
    print(f"match threshold: {manifest.match.threshold:.4f}, from {manifest.match.source}")
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


def _read_key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    if not path.is_file():
        raise FacetteError(f"--sign {path}: no such file; make a key with: openssl genpkey -algorithm ed25519 -out KEY.pem")
    return path.read_bytes()
