"""The picture of a load benchmark: latency against load, and images a second beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

OURS, OTHERS, REFUSED = "#0b6e99", "#9aa5ad", "#c2571a"


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw `result`, as `tests.benchmarks.load` writes it, into `path`."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(3, 4), layout="constrained")
    _latencies(left, result["services"][0])
    _rates(right, result["services"])
    figure.suptitle(
        f"One native radiograph to 14 probabilities; {result['machine']}; {result['date']}", x=0.01, ha="left"
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _latencies(axes: Axes, ours: dict[str, Any]) -> None:
    shares = [int(share) for share in ours["levels"]]
    figures = list(ours["levels"].values())
    for key, label, style in (("p99_s", "p99", "-"), ("p95_s", "p95", "--"), ("p50_s", "p50", ":")):
        axes.plot(shares, [level[key] for level in figures], style, color=OURS, marker="o", ms=3, label=label)
    refused = [level["refused_p99_s"] for level in figures]
    axes.plot(shares, refused, color=REFUSED, marker="s", ms=4, lw=0, label="refused (503), p99")
    axes.axhline(ours["alone"]["p50_s"], color="black", lw=0.6)
    axes.annotate(
        "one at a time",
        (shares[-1], ours["alone"]["p50_s"]),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
    )
    axes.set(
        xlabel="load, % of capacity", ylabel="seconds from when it was due", title="cxrserve, open-loop load"
    )
    axes.set_xticks(shares)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left")


def _rates(axes: Axes, services: list[dict[str, Any]]) -> None:
    services = services[::-1]
    rates = [service["saturated"]["rate"] for service in services]
    colours = [OURS if service["name"].startswith("cxrserve") else OTHERS for service in services]
    bars = axes.barh([service["name"] for service in services], rates, color=colours, height=0.62)
    labels = [
        f"{rate:.2f}/s, one at a time {service['alone']['p50_s']:.2f} s"
        for rate, service in zip(rates, services, strict=True)
    ]
    axes.bar_label(bars, labels, padding=4)
    axes.set(xlabel="images answered a second, saturated", title="Throughput")
    axes.set_xlim(0, max(rates) * 1.8)
