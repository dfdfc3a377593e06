"""The search: what it finds, what it spares, and that workers share, resume and survive."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from facette.search.budget import parse_budget
from facette.search.choice import Choice, Measured
from facette.search.front import Point, front_figure, result_figure, to_svg, write_figure
from facette.search.locks import FileLocks
from facette.search.outcome import SearchResult, Trial, to_table
from facette.search.space import Offer, SearchSpace, space_for
from facette.search.study import search, study_name
from facette.target import load_target
from facette_runtime.errors import FacetteError
from tests.toolchain.search_worker import BUDGET, KILL_AT, SPACE, MadeUp, job

pytest.importorskip("optuna")
ROOT = Path(__file__).parents[2]


def _start(where: str | Path, trials: int, log: Path, trouble: str = "") -> subprocess.Popen[bytes]:
    arguments = [str(where), str(trials), str(log), *([trouble] if trouble else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-m", "tests.toolchain.search_worker", *arguments], cwd=ROOT, env=environment)


def _labels(result: SearchResult) -> list[str]:
    return [trial.choice.label for trial in result.trials]


def _share(where: str | Path, log: Path) -> None:
    """Two workers at once make eight trials together, none twice."""
    log.touch()
    workers = [_start(where, 8, log, "meet") for _ in range(2)]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    made = [label for _, label in lines]
    assert len({process for process, _ in lines}) == 2
    assert len(made) == len(set(made)) == 8
    result = search(job(where, 8), MadeUp())
    assert sorted(_labels(result)) == sorted(made)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, MadeUp, list[str]]:
    """A search through the whole space."""
    lines: list[str] = []
    made_up = MadeUp()
    return search(job(tmp_path_factory.mktemp("study") / "study.sqlite", 1000), made_up, lines.append), made_up, lines


def test_it_looks_at_every_choice_once_and_finds_the_fastest_that_fits(
    finished: tuple[SearchResult, MadeUp, list[str]],
) -> None:
    result, made_up, lines = finished
    assert len(result.trials) == len(set(_labels(result))) == len(made_up.made) == SPACE.size == result.size
    assert result.best is not None
    assert result.best.choice == Choice("onnxruntime", "int8", "dw2", 1, 0.5, "mse", True, 0.0)
    assert result.verdict() == (
        "best within the budget: onnxruntime int8 dw2, keep 0.50, mse, equalized, 1 thread: "
        "LFW 98.97%, TAR 97.20%, 0.52 MB, 1.08 ms, 110 M MACs"
    )
    assert len(lines) == SPACE.size
    assert lines[0].startswith(f"1/{SPACE.size}  onnxruntime fp32 dw2, 1 thread: LFW 99.37%")


def test_accuracy_is_measured_only_where_it_can_matter(finished: tuple[SearchResult, MadeUp, list[str]]) -> None:
    result, made_up, _ = finished
    filtered = [trial for trial in result.trials if trial.state == "filtered"]
    assert len(filtered) >= 5
    assert not {trial.choice for trial in filtered} & set(made_up.judged)
    assert all(trial.measured.accuracy is None and "not ≤" in trial.reason for trial in filtered)


def test_what_cannot_be_made_is_recorded_with_the_reason(finished: tuple[SearchResult, MadeUp, list[str]]) -> None:
    result, _, lines = finished
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert {trial.choice.label.split(",")[0] for trial in failed} == {"litert int8 stock"}
    assert {trial.reason for trial in failed} == {"litert: PRELU has no int8 kernel"}
    assert sum("failed: litert: PRELU has no int8 kernel" in line for line in lines) == len(failed) == 2
    assert "failed: litert: PRELU has no int8 kernel" in to_table(result)


def test_a_stopped_search_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = search(job(tmp_path / "whole.sqlite", 10), MadeUp())
    first, second = MadeUp(), MadeUp()
    search(job(tmp_path / "parts.sqlite", 6), first)
    parts = search(job(tmp_path / "parts.sqlite", 10), second)
    assert _labels(parts) == _labels(whole)
    assert (len(first.made), len(second.made)) == (6, 4)
    again = MadeUp()
    assert search(job(tmp_path / "parts.sqlite", 10), again).trials == parts.trials
    assert again.made == []


def test_a_killed_worker_s_trial_is_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert _start(tmp_path / "study.sqlite", 8, log, "kill").wait(timeout=300) == -signal.SIGKILL
    before = [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
    assert len(before) == KILL_AT
    made_up = MadeUp()
    result = search(job(tmp_path / "study.sqlite", 8), made_up)
    assert made_up.made[0].label == before[-1]
    assert not {choice.label for choice in made_up.made[1:]} & set(before)
    assert len(_labels(result)) == len(set(_labels(result))) == 8


def test_two_workers_share_an_sqlite_file(tmp_path: Path) -> None:
    _share(tmp_path / "study.sqlite", tmp_path / "log")
    assert not list(tmp_path.glob("*.lock"))


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a private server without a network port."""
    pytest.importorskip("psycopg2")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = shutil.which("initdb") or next((str(path / "initdb") for path in programs if (path / "initdb").exists()), None)
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed here (initdb not found)")
    owner = {"user": "nobody"} if os.geteuid() == 0 else {}  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="facette-pg-"))
    if owner:
        shutil.chown(folder, "nobody")
    control = [str(Path(initdb).with_name("pg_ctl")), "-D", str(folder / "data"), "-w"]

    def call(command: list[str]) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **owner)

    try:
        call([initdb, "-D", str(folder / "data"), "-A", "trust", "-U", "facette", "--no-sync"])
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        call([*control, "-l", str(folder / "log"), "-o", options, "start"])
        try:
            yield f"postgresql+psycopg2://facette@/postgres?host={folder}"
        finally:
            call([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder)


def test_two_workers_share_a_postgresql_study_and_survive_a_third(postgres: str, tmp_path: Path) -> None:
    _share(postgres, tmp_path / "log")
    log = tmp_path / "killed"
    assert _start(postgres, 12, log, "kill").wait(timeout=300) == -signal.SIGKILL
    begun = log.read_text().splitlines()[-1].split(" ", 1)[1]
    made_up = MadeUp()
    result = search(job(postgres, 12), made_up)
    assert made_up.made[0].label == begun
    assert len(_labels(result)) == len(set(_labels(result))) == 12


def _all_measured(budget: str) -> SearchResult:
    """Every choice of ONNX Runtime's, measured in full."""
    made_up, choices = MadeUp(), [choice for choice in SPACE.choices() if choice.engine == "onnxruntime"]
    measured = [made_up.measure_accuracy(choice, made_up.measure_fast(choice)) for choice in choices]
    trials = [Trial(n, choice, "measured", m) for n, (choice, m) in enumerate(zip(choices, measured, strict=True))]
    return SearchResult("x", parse_budget(budget), tuple(trials), len(trials))


@pytest.mark.parametrize(
    ("budget", "line"),
    [
        (
            "lfw>=99.3 latency<=500us",
            "  latency: best was 2.17 ms at lfw ≥ 99.30 % (onnxruntime int8 dw2, mse, equalized, 1 thread)",
        ),
        ("latency<=100us", "  latency: best was 1.08 ms ("),
        ("lfw>=99.9 size<=1.5MB", "  lfw: best was 99.37 % at size ≤ 1.50 MB ("),
        ("lfw>=99.9 size<=1.5MB latency<=10us", "  every candidate breaks several terms; nearest was "),
        ("cosine>=0.9", "  cosine: could not be measured"),
    ],
)
def test_when_nothing_fits_the_binding_constraint_is_named(budget: str, line: str) -> None:
    result = _all_measured(budget)
    assert result.best is None
    first, *rest = result.verdict().splitlines()
    assert first.startswith("nothing fits the budget (")
    assert any(text.startswith(line) for text in rest), result.verdict()


def test_as_long_as_nothing_fits_near_misses_are_measured_in_full(tmp_path: Path) -> None:
    space = replace(SPACE, offers=SPACE.offers[:1])
    result = search(job(tmp_path / "study.sqlite", 100, parse_budget("lfw>=99.3 latency<=500us"), space), MadeUp())
    assert result.verdict() == _all_measured("lfw>=99.3 latency<=500us").verdict()
    assert any(trial.state == "filtered" for trial in result.trials)


def test_when_nothing_can_be_made_the_reason_is_told(tmp_path: Path) -> None:
    space = SearchSpace((Offer("litert", ("int8",), ("stock",)),))
    result = search(job(tmp_path / "study.sqlite", 5, space=space), MadeUp())
    assert result.verdict().endswith("no candidate could be made; litert: PRELU has no int8 kernel")
    assert result.front == ()


def test_places_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(FacetteError, match=r"mysql://me@host/db: unknown kind of place; valid: .*postgresql\+psycopg2://"):
        search(job("mysql://me:secret@host/db", 5), MadeUp())
    with pytest.raises(FacetteError, match="can't be opened") as error:
        search(job(f"postgresql+psycopg2://me:secret@/db?host={tmp_path}", 5), MadeUp())
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    (tmp_path / "file").touch()
    with pytest.raises(FacetteError, match="can't be opened"):
        search(job(tmp_path / "file" / "study.sqlite", 5), MadeUp())
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(FacetteError, match="can't be opened"):
        search(job(tmp_path / "text", 5), MadeUp())
    with pytest.raises(FacetteError, match="at least 1"):
        job(tmp_path / "study.sqlite", 0)


def test_without_optuna_the_command_that_mends_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(FacetteError, match=r"pip install 'facette\[search\]'"):
        search(job(tmp_path / "study.sqlite", 5), MadeUp())


def test_a_study_is_named_after_all_that_decides_its_outcome() -> None:
    name = study_name("digest", "x86-cpu", BUDGET, SPACE)
    assert name == study_name("digest", "x86-cpu", parse_budget("lfw>=98.9, size<=1500KB latency<=2000us"), SPACE)
    others = [
        study_name("other", "x86-cpu", BUDGET, SPACE),
        study_name("digest", "rpi4", BUDGET, SPACE),
        study_name("digest", "x86-cpu", parse_budget("lfw>=99"), SPACE),
        study_name("digest", "x86-cpu", BUDGET, replace(SPACE, keeps=(1.0,))),
    ]
    assert len({name, *others}) == 5


def test_the_space_is_what_the_target_offers() -> None:
    target = load_target("x86-cpu")
    space = space_for(target, ["stock", "max"], keeps=(1.0, 0.5))
    assert {offer.engine for offer in space.offers} == {
        engine.name for engine in target.engines if {"stock", "max"} & set(engine.forms)
    }
    assert all(set(offer.forms) <= {"stock", "max"} for offer in space.offers)
    assert space.threads == (target.threads,)
    listed = list(SPACE.choices())
    assert len(listed) == len(set(listed)) == SPACE.size
    assert set(SPACE.baselines()) <= set(listed)
    with pytest.raises(ValueError, match="offers"):
        SearchSpace(())


def _trial(number: int, accuracy: float, latency: float, size: int) -> Trial:
    choice = Choice("onnxruntime", "fp32", f"form{number}", 1)
    return Trial(number, choice, "measured", Measured(accuracy=accuracy, latency_ms=latency, bytes=size))


FOUR = (_trial(0, 0.99, 3.0, 400), _trial(1, 0.98, 2.0, 100), _trial(2, 0.97, 2.5, 300), _trial(3, 0.98, 2.5, 90))


def test_the_front_holds_what_nothing_beats() -> None:
    result = SearchResult("x", parse_budget("lfw>=97.5 latency<=2.6ms"), FOUR, 4)
    assert [trial.number for trial in result.front] == [1, 3, 0]
    assert result.best == FOUR[1]
    marks = {line.split()[0]: line.split()[1] for line in to_table(result).splitlines()[2:]}
    assert (marks["0"], marks["1"], marks["3"]) == ("*", "**", "*")
    assert marks["2"] == "onnxruntime"


def test_without_labels_and_without_the_device_cosine_and_macs_decide() -> None:
    measured = Measured(cosine=0.98, macs=110_000_000)
    assert (measured.quality, measured.cost) == (0.98, 110.0)
    with pytest.raises(ValueError, match="neither accuracy nor cosine"):
        _ = Measured(latency_ms=1.0).quality
    with pytest.raises(ValueError, match="neither latency_ms nor macs"):
        _ = Measured(accuracy=1.0).cost


def test_the_plot_is_written_as_svg_and_png(tmp_path: Path) -> None:
    result = SearchResult("x", parse_budget("lfw>=97.5 latency<=2.6ms"), FOUR, 4)
    write_figure(result_figure(result), tmp_path / "front.svg")
    write_figure(result_figure(result), tmp_path / "front.png")
    assert (tmp_path / "front.svg").read_text().startswith("<svg")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert to_svg(result_figure(result)) == to_svg(result_figure(result))
    with pytest.raises(FacetteError, match="ends in"):
        write_figure(result_figure(result), tmp_path / "front.jpg")
    with pytest.raises(FacetteError, match="at least one candidate"):
        front_figure([], "accuracy", "latency")
    assert front_figure([Point("a", 0.9, 1.0, 5), Point("b", 0.95, 20.0, 9)], "accuracy", "latency").axes[0].get_xscale() == "log"


def test_the_plot_names_candidates_when_asked() -> None:
    points = [Point("one", 0.9, 1.0, 5), Point("two", 0.95, 2.0, 9, on_front=True)]
    assert not front_figure(points, "accuracy", "latency").axes[0].texts
    assert {text.get_text() for text in front_figure(points, "accuracy", "latency", named=True).axes[0].texts} == {"one", "two"}


def test_locks_bind_and_leave_nothing_behind(tmp_path: Path) -> None:
    one, other = FileLocks(tmp_path / "study"), FileLocks(tmp_path / "study")
    assert not one.is_held("turn")
    with one.holding("turn"):
        assert other.is_held("turn")
        with other.holding("another"):
            assert one.is_held("another")
    assert not other.is_held("turn")
    assert list(tmp_path.iterdir()) == []
