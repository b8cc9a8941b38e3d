"""Times the main job, a native JPEG to 14 probabilities and 14 heatmaps, against torch eager with grad-cam.

`make bench`: one run on one machine; prints the README's table and writes a dated note with its figures.
Both sides have the same four DenseNet121, untrained, and the same phantom of 2500 × 3056 pixels. Ours is
timed by an HTTP client on loopback, so everything counts.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import openvino
import psutil

from cxrserve.imaging.profiles import apply_profile
from training.phantom import make_phantom

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "runs" / "benchmark"
NOTES = Path(__file__).parent
RUNS = 7


def _cxrserve(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("cxrserve")), *arguments]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _service(bundle: Path, engine: str = "auto") -> Iterator[tuple[httpx.Client, float, psutil.Process]]:
    """The service in a process of its own; yields a client, the seconds until ready, the process."""
    port = _free_port()
    started = time.perf_counter()
    command = _cxrserve("serve", "--bundle", str(bundle), "--port", str(port), "--engine", engine)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                yield client, _ready(client, process, started), psutil.Process(process.pid)
        finally:
            process.terminate()


def _ready(client: httpx.Client, process: subprocess.Popen[bytes], started: float) -> float:
    while process.poll() is None and time.perf_counter() - started < 120:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return time.perf_counter() - started
        time.sleep(0.02)
    raise RuntimeError(f"the service was not ready within 120 s, exit code {process.poll()}")


def _peak_mib(process: psutil.Process) -> float:
    """Peak resident memory of a process and its children, added up; shared pages count for each."""
    return sum(_high_water_kib(one.pid) for one in [process, *process.children(recursive=True)]) / 2**10


def _high_water_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def _ask(client: httpx.Client, data: bytes, heatmaps: str) -> dict[str, Any]:
    started = time.perf_counter()
    answer = client.post("/predict", params={"heatmaps": heatmaps}, content=data)
    answer.raise_for_status()
    timing: dict[str, float] = answer.json()["timing_ms"]
    return {"wall": (time.perf_counter() - started) * 1000, **timing}


def _median_ms(client: httpx.Client, data: bytes, heatmaps: str) -> dict[str, float]:
    for _ in range(2):
        _ask(client, data, heatmaps)
    runs = [_ask(client, data, heatmaps) for _ in range(RUNS)]
    return {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}


def _ours(bundle: Path, data: bytes, engine: str = "auto") -> dict[str, Any]:
    with _service(bundle, engine) as (client, ready_s, process):
        about = client.get("/model").json()
        with_heatmaps, without = _median_ms(client, data, "all"), _median_ms(client, data, "none")
        engines_ms = sum(ms for stage, ms in with_heatmaps.items() if stage.startswith("engine_"))
        return {
            "engine": about["engine"],
            "ready_s": ready_s,
            "all_heatmaps_ms": with_heatmaps,
            "no_heatmaps_ms": without,
            "overhead_ms": with_heatmaps["wall"] - engines_ms,
            "peak_mib": _peak_mib(process),
        }


def full_size_bundle() -> Path:
    """Four untrained DenseNet121 at their full sizes, made once."""
    bundle = WORK / "haque2021-untrained"
    if not (bundle / "bundle.json").exists():
        subprocess.run(_cxrserve("models", "init", "--recipe", "haque2021", "--out", str(bundle)), check=True)
    return bundle


def _phantom_jpeg() -> Path:
    """A phantom at the size most detectors make: 2500 × 3056, as MIMIC-CXR-JPG would write it."""
    path = WORK / "phantom-2500x3056.jpg"
    if not path.exists():
        grey_HW, _ = apply_profile(make_phantom(7).radiograph, "mimic-cxr-jpg")
        native_HW = cv2.resize(grey_HW, (2500, 3056), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), native_HW, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path


def _peer(jpeg: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.torch_eager", str(jpeg)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    peer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return peer


def table(result: dict[str, Any]) -> str:
    """The README's table."""
    ours, peer = result["ours"], result["peer"]
    with_s, without_s = ours["all_heatmaps_ms"]["wall"] / 1000, ours["no_heatmaps_ms"]["wall"] / 1000
    peer_with, peer_without = peer["answer_with_14_heatmaps_s"], peer["answer_without_heatmaps_s"]
    rows = [
        ("", "cxrserve", "torch eager + grad-cam", "ratio"),
        ("---", "---:", "---:", "---:"),
        (
            "14 probabilities and 14 heatmaps",
            f"{with_s:.2f} s",
            f"{peer_with:.0f} s ¹",
            f"{peer_with / with_s:.0f} ×",
        ),
        (
            "14 probabilities",
            f"{without_s:.2f} s",
            f"{peer_without:.1f} s",
            f"{peer_without / without_s:.1f} ×",
        ),
        (
            "with all heatmaps, against none",
            f"{with_s:.2f} s",
            f"{peer_without:.1f} s",
            f"{peer_without / with_s:.1f} ×",
        ),
        (
            "peak memory",
            f"{ours['peak_mib']:.0f} MiB",
            f"{peer['peak_mib']:.0f} MiB",
            f"{peer['peak_mib'] / ours['peak_mib']:.1f} ×",
        ),
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def aims(result: dict[str, Any]) -> str:
    """The targets, each with the figure that was reached."""
    ours, peer = result["ours"], result["peer"]
    with_s = ours["all_heatmaps_ms"]["wall"] / 1000
    rows = [
        ("all heatmaps against the peer's", "≥ 100 ×", peer["answer_with_14_heatmaps_s"] / with_s, "×"),
        ("all heatmaps against the peer without", "≥ 6 ×", peer["answer_without_heatmaps_s"] / with_s, "×"),
        ("overhead beside the engines", "< 0.25 s", ours["overhead_ms"] / 1000, "s"),
        ("demo bundle ready within", "< 5 s", result["demo"]["ready_s"], "s"),
    ]
    return "\n".join(f"{what}: aim {aim}, reached {value:.2f} {unit}" for what, aim, value, unit in rows)


def stages(ours: dict[str, Any]) -> str:
    """Median milliseconds of each stage."""
    return ", ".join(f"{stage} {ms:.0f}" for stage, ms in ours["all_heatmaps_ms"].items())


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    jpeg, bundle = _phantom_jpeg(), full_size_bundle()
    data = jpeg.read_bytes()
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{cpu()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "versions": f"Python {platform.python_version()}, OpenVINO {openvino.__version__}",
        "command": "make bench",
        "runs": RUNS,
        "image": f"phantom, 2500 × 3056 JPEG, {len(data) / 1e6:.1f} MB",
        "ours": _ours(bundle, data),
        "ours_onnxruntime": _ours(bundle, data, "onnxruntime"),
        "demo": _ours(ROOT / "models" / "demo", data),
        "peer": _peer(jpeg),
    }
    note = NOTES / f"main_job-{result['date']}.json"
    note.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    print(aims(result))
    for name in ("ours", "ours_onnxruntime", "demo"):
        print(
            f"{name}: ready in {result[name]['ready_s']:.1f} s; ms: {stages(result[name])}; "
            f"overhead {result[name]['overhead_ms']:.0f} ms, {result[name]['peak_mib']:.0f} MiB"
        )
    print(f"figures in {note.relative_to(ROOT)}")


def cpu() -> str:
    """The processor as the machine names it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


if __name__ == "__main__":
    main()
