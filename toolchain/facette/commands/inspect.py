"""``facette inspect``: everything that a bundle says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from facette.commands.common import Commands, new_command, write_json
from facette_runtime.bundle import Bundle
from facette_runtime.manifest import Manifest, NetworkEntry


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    examples = "  facette inspect default-x86-cpu.facette\n  facette inspect default-x86-cpu.facette --json - | jq .match"
    command = new_command(commands, "inspect", "show what a bundle holds", examples, run)
    command.add_argument("bundle", type=Path)
    command.add_argument("--json", metavar="FILE", help="write the manifest; - for standard output")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    bundle = Bundle.open(arguments.bundle, check_target=False)
    if arguments.json:
        write_json(arguments.json, bundle.manifest)
        return
    sys.stdout.write(describe(bundle))


def describe(bundle: Bundle) -> str:
    """A bundle for people, by section."""
    from facette.compile_report import read_compile_report, to_table

    manifest = bundle.manifest
    sections = [
        ("bundle", _facts(bundle)),
        ("detector", [*_network(manifest.detector), *_detector(manifest)]),
        ("embedder", [*_network(manifest.embedder), *_embedder(manifest)]),
        ("licences", _licences(manifest)),
        ("made with", list(manifest.tools.items())),
        ("files", [(name, f"{file.bytes:>10,} bytes  sha256 {file.sha256[:16]}…") for name, file in manifest.files.items()]),
    ]
    text = "".join(_section(title, facts) for title, facts in sections)
    report = read_compile_report(bundle)
    if report is not None:
        text += f"\ncandidates ({report.threads} thread{'s' if report.threads > 1 else ''})\n{to_table(report)}\n"
    return text


def _section(title: str, facts: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in facts)
    return f"\n{title}\n" + "".join(f"  {name:<{width}}  {value}\n" for name, value in facts)


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    allowed = manifest.golden.tolerance
    golden = f"embedding cosine ≥ {allowed.embedding_cosine:.6f}, end to end ≥ {allowed.end_to_end_cosine:.6f}"
    features = ", ".join(manifest.target.cpu_features) or "none beyond the architecture's"
    return [
        ("name", manifest.name),
        ("format", f"{manifest.format[0]}.{manifest.format[1]}"),
        ("created", manifest.created),
        ("size", f"{bundle.path.stat().st_size / 1e6:.2f} MB"),
        ("target", f"{manifest.target.name} ({manifest.target.architecture}), CPU features needed: {features}"),
        ("match threshold", f"{manifest.match.threshold:.4f} cosine, from {manifest.match.source}"),
        ("golden pictures", f"{len(manifest.golden.faces)}, {golden}"),
    ]


def _network(entry: NetworkEntry) -> list[tuple[str, str]]:
    size, latency = "", "not measured (another machine's target)"
    if entry.macs is not None and entry.parameters is not None:
        size = f", {entry.parameters / 1e6:.2f} M parameters, {entry.macs / 1e6:.0f} M MACs"
    if entry.latency_ms is not None:
        latency = f"{entry.latency_ms:.2f} ms median, {entry.threads} thread{'s' if entry.threads > 1 else ''}"
    width, height = entry.input.size_wh
    pixels = f"uint8 NHWC {width}×{height} {entry.input.color_order.upper()}, batch {entry.input.batch or 'any'}"
    return [
        ("network", entry.name + size),
        ("engine", f"{entry.engine} {entry.precision}, graph form {entry.form}"),
        ("latency", latency),
        ("input", f"{entry.input.name}: {pixels}"),
        ("normalisation", f"baked in: (pixel − {entry.input.mean}) × {tuple(round(value, 6) for value in entry.input.scale)}"),
        ("source sha256", entry.source_digest),
        *((f"parity {name}", f"max abs {p.max_abs:.2e}, cosine {p.cosine:.8f}") for name, p in entry.parity.items()),
    ]


def _detector(manifest: Manifest) -> list[tuple[str, str]]:
    decoder, letterbox = manifest.detector.decoder, manifest.detector.letterbox
    return [
        ("decoder", f"{decoder.kind}, strides {decoder.strides}, score ≥ {decoder.score_threshold}, IoU ≤ {decoder.iou_threshold}"),
        ("letterbox", f"padding BGR {letterbox.pad_bgr}, small pictures are {'' if letterbox.upscale else 'not '}enlarged"),
    ]


def _embedder(manifest: Manifest) -> list[tuple[str, str]]:
    alignment = manifest.embedder.alignment
    points = ", ".join(f"({x:.1f}, {y:.1f})" for x, y in alignment.template_xy)
    return [
        ("embedding", f"{manifest.embedder.decoder.size} numbers, L2-normalised"),
        ("template", f"{alignment.size_wh}: {points}"),
    ]


def _licences(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        (licence.covers, f"{licence.name}{'' if licence.commercial_use else ', NOT for commercial use'} ({licence.note})")
        for licence in manifest.licences
    ]
