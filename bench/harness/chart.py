"""The chart of a report: medians by model and thread count, one bar per contender, p90 as a whisker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {
    "tulle": "#0b7a75",
    "litertjs": "#d1495b",
    "tfjs-tflite": "#edae49",
    "tfjs-wasm": "#8d6a9f",
    "onnxruntime-web": "#30638e",
    "native": "#7a7a7a",
}


def draw(report: dict[str, Any], path: Path) -> None:
    """Writes an SVG; text stays text, so that it can be read and searched."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(group["model"] for group in report["groups"]))
    threads = sorted({group["threads"] for group in report["groups"]})
    groups = {(group["model"], group["threads"]): group for group in report["groups"]}
    bars = {key: [r for r in group["contenders"] if "median_ms" in r] for key, group in groups.items()}
    heights = [0.6 + 0.26 * max(len(bars.get((model, t), [])) for t in threads) for model in models]

    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tulle", "font.size": 9}):
        figure, axes = pyplot.subplots(
            len(models),
            len(threads),
            figsize=(5.4 * len(threads), sum(heights) + 0.6),
            squeeze=False,
            height_ratios=heights,
            layout="constrained",
        )
        for row, model in enumerate(models):
            for column, count in enumerate(threads):
                title = f"{model}, {count} thread{'s' if count > 1 else ''}"
                axes[row][column].set_title(title, loc="left", weight="bold")
                _panel(axes[row][column], bars.get((model, count), []))
        figure.suptitle("milliseconds an inference (median, whisker to p90; lower is better)", fontsize=9)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def _panel(axes: Any, records: list[dict[str, Any]]) -> None:
    for position, record in enumerate(reversed(records)):
        median, p90 = record["median_ms"], record["p90_ms"]
        wrong = record["status"] == "wrong"
        axes.barh(position, median, color=COLOURS[record["runtime"]], alpha=0.3 if wrong else 1.0, height=0.75)
        axes.plot([median, p90], [position, position], color="black", linewidth=0.8)
        label = f"{median:.1f}" + (" (wrong answer)" if wrong else "")
        axes.annotate(label, (max(median, p90), position), xytext=(3, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(records)), [record["name"] for record in reversed(records)])
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, 1.2 * max((record["p90_ms"] for record in records), default=1.0))
