"""`cxrserve bench` against the real service with a tiny bundle, and against one that refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.servers import Running


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cxrserve", "bench", *arguments], capture_output=True, text=True, timeout=200
    )


def test_it_measures_a_service_of_its_own(tiny_bundle: Path, chest_jpeg: bytes, tmp_path: Path) -> None:
    film, output = tmp_path / "film.jpg", tmp_path / "figures.json"
    film.write_bytes(chest_jpeg)
    done = bench(
        *(str(film), "--bundle", str(tiny_bundle), "--seconds", "1", "--levels", "50,400"),
        *("--output", str(output)),
    )
    assert done.returncode == 0, done.stderr
    assert "of the bare" in done.stdout
    figures = json.loads(output.read_text())
    service = figures["services"][0]
    assert figures["bare"]["images_per_s"] > 0
    assert service["ready_s"] > 0
    assert service["resident_mib"] > 50
    assert set(service["levels"]) == {"50", "400"}
    assert service["saturated"]["statuses"].keys() == {"200"}
    stages, answered = service["stages"], service["saturated"]["statuses"]["200"]
    assert {"decode", "pyramid", "stack"} < stages.keys()
    # A film may still be on its way at either end.
    assert abs(stages["decode"]["runs"] - answered) <= 4
    assert all(0 < stage["mean_s"] < 10 for stage in stages.values())
    assert "one takes" in done.stdout
    assert service["levels"]["400"]["asked_rate"] > service["saturated"]["rate"]


def test_films_that_are_refused_are_not_timed(tiny_bundle: Path, tmp_path: Path, server: Running) -> None:
    film = tmp_path / "film.jpg"
    film.write_bytes(b"no film at all")
    done = bench(str(film), "--url", server.url)
    assert done.returncode == 2
    assert "answers 415" in " ".join(done.stderr.split())


def test_levels_are_checked(tmp_path: Path) -> None:
    done = bench(str(tmp_path), "--levels", "fast")
    assert done.returncode == 2
    assert "whole percents" in done.stderr
