"""facette-run: enroll people, identify them, measure, and check a device.

Heavy modules are imported by the command that needs them, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facette_runtime import __version__
from facette_runtime.errors import BundleError, FacetteError, SourceError

if TYPE_CHECKING:
    from facette_runtime.bundle import Bundle
    from facette_runtime.sources import Source

_SOURCE_HELP = "a picture, a folder of pictures, a video, a camera (0 or /dev/video0), or an RTSP or HTTP address"

_TRUST_HELP = "Ed25519 public key: refuse bundles not signed with it"

_EXAMPLES = {
    "enroll": """examples:
  facette-run enroll --bundle pi.facette --gallery people.npz --name Grace --source grace.jpg
  facette-run enroll --bundle pi.facette --gallery people.npz --source people/     (people/Grace/*.jpg, people/Alan/*.jpg)""",
    "identify": """examples:
  facette-run identify --bundle pi.facette --gallery people.npz --source party.jpg --output marked.png
  facette-run identify --bundle pi.facette --gallery people.npz --source door.mp4 --output door-marked.mp4 --json door.jsonl
  facette-run identify --bundle pi.facette --gallery people.npz --source 0 --json -""",
    "bench": """examples:
  facette-run bench --bundle pi.facette --source door.mp4
  facette-run bench --bundle pi.facette --source photo.jpg --frames 500 --threads 1 --json report.json""",
    "selftest": """examples:
  facette-run selftest --bundle pi.facette
  facette-run selftest --bundle pi.facette --trust maker-public.pem""",
    "doctor": """examples:
  facette-run doctor
  facette-run doctor pi.facette
  facette-run doctor pi.facette --json doctor.json

exit status: 0 when nothing that is needed is missing, 1 when something is, 2 when the bundle cannot be read""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0 done, 1 the selftest failed or the doctor found something missing, 2 an error told in one line, 130
        interrupted.
    """
    # Libraries read these when they are loaded: one line of ours instead of their pages of warnings, and no idle thread pools.
    for variable, value in (
        ("OPENCV_LOG_LEVEL", "OFF"),
        ("OPENCV_FFMPEG_LOGLEVEL", "-8"),
        ("OPENBLAS_NUM_THREADS", "1"),
    ):
        os.environ.setdefault(variable, value)
    from_shell = argv is None
    arguments = _parser().parse_args(argv)
    try:
        status = _run(arguments, from_shell)
        sys.stdout.flush()
        return status
    except FacetteError as error:
        print(f"facette-run: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone; Python must not complain about it while it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: argparse.Namespace, from_shell: bool) -> int:
    if arguments.command == "enroll":
        return _enroll(arguments)
    if arguments.command == "identify":
        return _identify(arguments)
    if arguments.command == "bench":
        return _bench(arguments, from_shell)
    if arguments.command == "doctor":
        return _doctor(arguments)
    return _selftest(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facette-run",
        description="Recognises faces on this device with a Facette bundle.",
        epilog="Each command has its own --help with examples.",
    )
    parser.add_argument("--version", action="version", version=f"facette-run {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    enroll = _add_command(commands, "enroll", "add people to a gallery from their photos")
    enroll.add_argument("--gallery", required=True, type=Path, metavar="FILE", help="the people's .npz file; made if missing")
    enroll.add_argument("--name", help="the person; without it the source is a folder with one subfolder a person")
    enroll.add_argument("--source", required=True, help=_SOURCE_HELP)
    identify = _add_command(commands, "identify", "say who is in a picture, video or camera")
    identify.add_argument("--gallery", required=True, type=Path, metavar="FILE", help="made by enroll")
    identify.add_argument("--source", required=True, help=_SOURCE_HELP)
    identify.add_argument("--output", type=Path, metavar="PATH", help="picture, video or folder to write marked pictures to")
    identify.add_argument("--json", metavar="FILE", help="one JSON object a frame; - for standard output")
    identify.add_argument("--threshold", type=float, metavar="COSINE", help="instead of the bundle's")
    identify.add_argument("--max-frames", type=_positive, metavar="N", help="stop after so many")
    bench = _add_command(commands, "bench", "measure frames per second, stage times, memory and cold start")
    bench.add_argument("--source", required=True, help=_SOURCE_HELP)
    bench.add_argument("--gallery", type=Path, metavar="FILE", help="made by enroll; without it everybody is unknown")
    bench.add_argument("--frames", type=_positive, metavar="N", help="to measure; default: the source once, 200 for a picture")
    bench.add_argument("--warmup", type=_positive, default=10, metavar="N", help="frames before measuring (default: 10)")
    bench.add_argument("--json", metavar="FILE", help="write the report; - for standard output")
    _add_command(commands, "selftest", "replay the bundle's golden faces and name the stage that differs")
    doctor = _new_command(commands, "doctor", "say what this device has, and what a bundle needs")
    one = doctor.add_mutually_exclusive_group()
    one.add_argument("path", nargs="?", type=Path, metavar="BUNDLE", help="made by facette compile")
    one.add_argument("--bundle", type=Path, metavar="FILE", help="the same")
    doctor.add_argument("--trust", type=Path, metavar="KEY.pem", help=_TRUST_HELP)
    doctor.add_argument("--json", metavar="FILE", help="write it as JSON; - for standard output")
    return parser


def _add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str) -> argparse.ArgumentParser:
    """A command that works with a bundle."""
    command = _new_command(commands, name, summary)
    command.add_argument("--bundle", required=True, type=Path, metavar="FILE", help="made by facette compile")
    command.add_argument("--trust", type=Path, metavar="KEY.pem", help=_TRUST_HELP)
    command.add_argument("--threads", type=_positive, metavar="N", help="default: those that the bundle was measured with")
    return command


def _new_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=_EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but got {text!r}")
    return int(text)


def _open_bundle(arguments: argparse.Namespace, check_target: bool = True) -> Bundle:
    from facette_runtime.bundle import Bundle

    try:
        trust = None if arguments.trust is None else arguments.trust.read_bytes()
    except OSError as error:
        raise BundleError(f"--trust {arguments.trust} cannot be read: {error.strerror}") from None
    return Bundle.open(arguments.bundle, check_target, trust)


def _enroll(arguments: argparse.Namespace) -> int:
    from facette_runtime.enrol import Enrolment, enrol_folder_of_people, enrol_person
    from facette_runtime.gallery import Gallery
    from facette_runtime.pipeline import Pipeline
    from facette_runtime.sources import open_source

    bundle = _open_bundle(arguments)
    gallery = Gallery.load(arguments.gallery) if arguments.gallery.exists() else Gallery.empty(bundle.manifest.embedder)
    pipeline = Pipeline.load(bundle, gallery, arguments.threads)
    enrolment = Enrolment(gallery)
    if arguments.name is not None:
        enrol_person(pipeline, enrolment, arguments.name, open_source(arguments.source))
    elif Path(arguments.source).is_dir():
        enrol_folder_of_people(pipeline, enrolment, Path(arguments.source))
    else:
        raise SourceError(f"{arguments.source} is not a folder with one subfolder a person; say who it is with --name NAME")
    for item in enrolment.skipped:
        print(f"skipped {item.name}: {item.reason}", file=sys.stderr)
    if not enrolment.added:
        raise SourceError(f"{arguments.source}: no face found in any of its pictures; nobody enrolled")
    enrolment.gallery.save(arguments.gallery)
    for name, count in enrolment.added.items():
        print(f"enrolled {name}: {count} template{'s' if count > 1 else ''}")
    skipped = f", {len(enrolment.skipped)} pictures skipped" if enrolment.skipped else ""
    people = len(set(enrolment.gallery.names))
    print(
        f"{arguments.gallery}: {people} {'people' if people > 1 else 'person'}, {len(enrolment.gallery.names)} templates{skipped}"
    )
    return 0


def _identify(arguments: argparse.Namespace) -> int:
    from itertools import islice

    from facette_runtime.gallery import Gallery
    from facette_runtime.identify import describe
    from facette_runtime.output import announce, open_output, open_records
    from facette_runtime.pipeline import Pipeline
    from facette_runtime.sources import open_source

    bundle = _open_bundle(arguments)
    pipeline = Pipeline.load(bundle, Gallery.load(arguments.gallery), arguments.threads, arguments.threshold)
    source = open_source(arguments.source)
    count = 0
    with open_output(arguments.output, source) as mark, open_records(arguments.json) as record:
        for frame in islice(source, arguments.max_frames):
            faces = pipeline.process(frame)
            count += len(faces)
            mark(frame, faces)
            record(frame, faces)
            if faces or not source.still:
                announce(describe(frame, faces), arguments.json)
    _print_remarks(source)
    if source.still and not count:
        raise SourceError(f"{source.name}: no face found")
    return 0


def _bench(arguments: argparse.Namespace, from_shell: bool) -> int:
    from facette_runtime.bench import BenchSettings, run_bench
    from facette_runtime.files import write_atomically
    from facette_runtime.gallery import Gallery
    from facette_runtime.machine import process_age_ms
    from facette_runtime.progress import progress_bar
    from facette_runtime.report import to_table
    from facette_runtime.sources import open_source

    gallery = None if arguments.gallery is None else Gallery.load(arguments.gallery)
    source = open_source(arguments.source)
    start_ms = process_age_ms() if from_shell else None
    settings = BenchSettings(arguments.frames, arguments.warmup, arguments.threads, start_ms)
    report = run_bench(lambda: _open_bundle(arguments), source, gallery, settings, progress_bar(sys.stderr))
    _print_remarks(source)
    if arguments.json == "-":
        print(report.to_json(), end="")
        return 0
    print(to_table(report))
    if arguments.json is not None:
        write_atomically(arguments.json, report.to_json().encode())
    return 0


def _selftest(arguments: argparse.Namespace) -> int:
    from facette_runtime.selftest import self_test

    bundle = _open_bundle(arguments)
    checks = self_test(bundle, arguments.threads)
    failed = [check for check in checks if not check.passed]
    for check in checks:
        print(check.line())
    if failed:
        print(f"selftest FAILED: {len(failed)} of {len(checks)} checks; the first that differs is {failed[0].stage}")
        return 1
    print(f"selftest passed: {len(checks)} checks on {len(bundle.manifest.golden.faces)} pictures")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from facette_runtime.device import inspect_device
    from facette_runtime.doctor import diagnose
    from facette_runtime.doctor_table import to_table
    from facette_runtime.files import write_atomically

    arguments.bundle = arguments.bundle or arguments.path
    bundle = None if arguments.bundle is None else _open_bundle(arguments, check_target=False)
    folder = Path.cwd() if bundle is None else bundle.path.absolute().parent
    diagnosis = diagnose(inspect_device(folder), bundle)
    if arguments.json == "-":
        print(diagnosis.to_json(), end="")
    else:
        print(to_table(diagnosis))
    if arguments.json not in (None, "-"):
        write_atomically(arguments.json, diagnosis.to_json().encode())
    return 0 if diagnosis.fit else 1


def _print_remarks(source: Source) -> None:
    for item in source.skipped[:20]:
        print(f"skipped {item.name}: {item.reason}", file=sys.stderr)
    if source.skipped:
        print(f"{len(source.skipped)} skipped in all", file=sys.stderr)
    if source.note is not None:
        print(source.note, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
