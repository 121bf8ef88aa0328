"""From measured kernels to kernels.json, kernels.md and kernels.svg."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import FREE
from harness.kernel_hosts import Profile
from harness.kernel_models import KernelModel, random_weights
from harness.report import table, write_report
from harness.shapes import SPARSE_PATHS
from harness.timing import middle
from tulle.passes.cost_model import paired_nonzeros

Json = dict[str, Any]


def rows_of(model: KernelModel, layers: Json, profile: Profile, variant: str, peak: float) -> list[Json]:
    """A row for each case of a model: microseconds per call, multiply-adds executed and their rate."""
    shape = model.shape
    rows: list[Json] = []
    for case, names in model.steps.items():
        steps = [profile.steps[name] for name in names]
        # Copies follow each other, so that all but the first and last tick of the clock cancel out.
        us = float(middle(profile.milliseconds[:, [step["column"] for step in steps]].sum(axis=1))) * 1e3 / len(steps)
        us = max(us, 0.01)  # a layer never takes less; here the clock has not ticked
        gmacs = steps[0]["macs"] / us / 1e3
        weights = random_weights(shape, case)
        rows.append(
            {
                "variant": variant,
                "shape": str(shape),
                **shape.record(layers),
                "window": shape.kernel,
                "pixels": shape.pixels,
                "sparsity": case.sparsity,
                "zeros": case.zeros,
                "block": case.block,
                "nonzeros": int(np.count_nonzero(weights)),
                "paired": paired_nonzeros(weights) if shape.kind == "pointwise" else 0,
                "kernel": steps[0]["kernel"],
                "path": steps[0]["path"],
                "copies": len(names),
                "us": us,
                "macs": steps[0]["macs"],
                "gmacs": gmacs,
                "share_of_peak": gmacs / peak,
            }
        )
    dense_us = next(row["us"] for row in rows if row["sparsity"] == "dense")
    for row in rows:
        row["over_dense"] = dense_us / row["us"]
    return rows


def geomean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


SPARSITY_HEADER = [
    "variant", "kernel", "zeros", "GMAC/s", "of peak", "least of peak", "in layer", "over dense", "least over dense",
    "slower than dense",
]  # fmt: skip
KERNEL_HEADER = ["variant", "kernel", "window", "shapes", "GMAC/s", "of peak", "least of peak", "in layer"]


def sparsity_rows(report: Json, kind: str) -> list[list[str]]:
    """One line for each variant and sparsity: geometric means over the shapes of a kind, and the worst of them."""
    lines = []
    for variant in report["peak"]:
        rows = [row for row in report["rows"] if row["variant"] == variant and row["kind"] == kind]
        for sparsity, block, zeros in sorted({(row["sparsity"], row["block"], row["zeros"]) for row in rows}):
            group = [r for r in rows if (r["sparsity"], r["block"], r["zeros"]) == (sparsity, block, zeros)]
            least = min(group, key=lambda row: row["share_of_peak"])
            cells = [
                variant,
                sparsity if block == 1 else f"sparse, blocks of {block}",
                "" if sparsity == "dense" else _percent(zeros),
                f"{geomean(row['gmacs'] for row in group):.1f}",
                _percent(geomean(row["share_of_peak"] for row in group)),
                _percent(least["share_of_peak"]),
                least["shape"],
            ]
            if sparsity == "sparse":
                ratios = [row["over_dense"] for row in group]
                cells += [f"{geomean(ratios):.2f}", f"{min(ratios):.2f}", f"{sum(r < 1 for r in ratios)}/{len(group)}"]
            lines.append(cells + [""] * (len(SPARSITY_HEADER) - len(cells)))
    return lines


def kernel_rows(report: Json) -> list[list[str]]:
    """One line for each variant and kind of window of the other convolutions."""
    lines = []
    for variant in report["peak"]:
        groups: dict[tuple[str, str], list[Json]] = {}
        for row in report["rows"]:
            if row["variant"] == variant and row["kind"] not in ("pointwise", "vector"):
                window = f"{row['window'][0]}x{row['window'][1]} stride {row['stride'][0]}"
                groups.setdefault((row["kind"], window), []).append(row)
        for (kind, window), group in groups.items():
            least = min(group, key=lambda row: row["share_of_peak"])
            lines.append(
                [
                    variant,
                    kind,
                    window,
                    str(len(group)),
                    f"{geomean(row['gmacs'] for row in group):.1f}",
                    _percent(geomean(row["share_of_peak"] for row in group)),
                    _percent(least["share_of_peak"]),
                    least["shape"],
                ]
            )
    return lines


def model_record(name: str, profile: Profile, variant: str) -> Json:
    """Milliseconds of a whole model's steps, in total and by op."""
    typical = middle(profile.milliseconds)
    ops: dict[str, float] = {}
    for step in profile.steps.values():
        kind = "conv2d sparse" if step["path"] in SPARSE_PATHS else step["op"]
        ops[kind] = ops.get(kind, 0.0) + float(typical[step["column"]])
    slowest_first = dict(sorted(ops.items(), key=lambda item: -item[1]))
    return {"model": name, "variant": variant, "ms": sum(ops.values()), "ops": slowest_first}


MODEL_HEADER = ["model", "variant", "ms", "share of time"]


def model_rows(report: Json) -> list[list[str]]:
    """Where the time of whole models goes, by op, the slowest first; what is under 1 % is left out."""
    lines = []
    for record in report["models"]:
        shares = ((op, ms / record["ms"]) for op, ms in record["ops"].items())
        listed = ", ".join(f"{op} {_percent(share)}" for op, share in shares if share >= 0.01)
        lines.append([record["model"], record["variant"], f"{record['ms']:.2f}", listed])
    return lines


REGRET_HEADER = ["rule", "variant", "layers", "choices", "wrong", "regret", "worst", "in layer"]


def regret_rows(report: Json) -> list[list[str]]:
    """Time of the kernel that a rule chooses, divided by that of the better one."""
    lines = []
    for rule, variants in report["regret"].items():
        for variant, kinds in variants.items():
            for kind, r in kinds.items():
                counts = [str(r["choices"]), str(r["wrong"])]
                lines.append(
                    [rule, variant, kind, *counts, f"{r['geomean']:.4f}", f"{r['worst']:.2f}", r["worst_layer"]]
                )
    return lines


def _layer_table(report: Json, variant: str) -> str:
    """Every 1x1 shape: GMAC/s of the dense kernel and of the sparse one at every sparsity."""
    rows = [r for r in report["rows"] if (r["variant"], r["kind"], r["block"]) == (variant, "pointwise", 1)]
    zeros = sorted({row["zeros"] for row in rows if row["sparsity"] == "sparse"})
    shapes: dict[str, dict[tuple[str, float], Json]] = {}
    for row in rows:
        shapes.setdefault(row["shape"], {})[row["sparsity"], row["zeros"]] = row
    lines = []
    for shape, cases in shapes.items():
        at80 = cases.get(("sparse", 0.8))
        lines.append(
            [
                shape,
                f"{cases['dense', 0.0]['gmacs']:.1f}",
                *(f"{cases['sparse', z]['gmacs']:.1f}" for z in zeros),
                f"{at80['over_dense']:.2f}" if at80 else "",
                _percent(at80["share_of_peak"]) if at80 else "",
            ]
        )
    return table(
        ["GMAC/s of", "dense", *(f"sparse {_percent(z)}" for z in zeros), "80 % over dense", "80 % of peak"], lines
    )


def markdown(report: Json) -> str:
    machine, settings = report["machine"], report["settings"]
    noisy = "" if report["quiet"] else " (**not a quiet machine: do not rely on these figures**)"
    peaks = ", ".join(f"{variant} {value:.1f}" for variant, value in report["peak"].items())
    parts = [
        "# tulle's kernels",
        "",
        "GMAC/s counts multiply-adds that are executed, without those with zeros that a sparse kernel skips. Every",
        "shape counts once in the geometric means. How to read and repeat this: docs/benchmarks.md.",
        "",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['system']}; {report['host']}, 1 thread",
        f"- load average before the first run: {machine['load_average']}{noisy}",
        f"- middle half of {settings['runs']} runs per shape; {machine['date']}; shapes: {settings['shapes']}",
        f"- peak GMAC/s (relaxed: relaxed_madd; simd: mul and add), twelve accumulators in registers: {peaks}",
        *_loads_line(report["rows"]),
        "",
        "## 1x1 convolution",
        "",
        table(SPARSITY_HEADER, sparsity_rows(report, "pointwise")),
        "",
        "![speed-up over dense by sparsity](kernels.svg)",
        "",
        "## Fully connected layers, and 1x1 over one pixel",
        "",
        table(SPARSITY_HEADER, sparsity_rows(report, "vector")),
        "",
        "## Other convolutions",
        "",
        table(KERNEL_HEADER, kernel_rows(report)),
        "",
        "## Choosing sparse or dense",
        "",
        "Regret: time of the chosen kernel divided by that of the faster one, over every shape and sparsity.",
        "",
        table(REGRET_HEADER, regret_rows(report)),
        "",
        "## Whole models",
        "",
        "Milliseconds of all steps of a model, and the share of each op; converted with `--sparse auto`.",
        "",
        table(MODEL_HEADER, model_rows(report)),
        "",
    ]
    for variant in report["peak"]:
        parts += [f"## Every 1x1 shape, {variant}", "", _layer_table(report, variant), ""]
    return "\n".join(parts)


def _loads_line(rows: list[Json]) -> list[str]:
    loads = [row["loads"] for row in rows if row["loads"] is not None]
    if not loads:
        return []
    shared = sum(value < FREE for value in loads)
    return [
        f"- loads a cycle, every few shapes: {min(loads):.2f} to {max(loads):.2f}; under {FREE}, where somebody else "
        f"uses the core, for {shared} of {len(loads)} rows"
    ]


def draw(report: Json, path: Path) -> None:
    """An SVG: for each variant, how many times faster than dense, and the share of the peak, by sparsity."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    variants = list(report["peak"])
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tulle", "font.size": 9}):
        figure, axes = pyplot.subplots(
            len(variants), 2, figsize=(9, 3.4 * len(variants)), squeeze=False, layout="constrained"
        )
        for panels, variant in zip(axes, variants, strict=True):
            shapes: dict[str, list[Json]] = {}
            for row in report["rows"]:
                if (row["variant"], row["kind"], row["sparsity"], row["block"]) == (variant, "pointwise", "sparse", 1):
                    shapes.setdefault(row["shape"], []).append(row)
            titles = "times the dense kernel's speed", "share of the peak"
            for panel, key, title in zip(panels, ("over_dense", "share_of_peak"), titles, strict=True):
                for rows in shapes.values():
                    panel.plot([100 * r["zeros"] for r in rows], [r[key] for r in rows], color="#9bb8b6", linewidth=0.5)
                by_zeros: dict[float, list[float]] = {}
                for row in (row for rows in shapes.values() for row in rows):
                    by_zeros.setdefault(row["zeros"], []).append(row[key])
                means = [geomean(values) for values in by_zeros.values()]
                panel.plot([100 * zeros for zeros in by_zeros], means, color="#0b7a75", marker="o", linewidth=2)
                panel.axhline(1, color="black", linewidth=0.6, linestyle=":")
                panel.set_title(f"{variant}: {title}", loc="left", weight="bold")
                panel.set_xlabel("% of the weights are zero")
                panel.spines[["top", "right"]].set_visible(False)
            panels[0].set_yscale("log", base=2)
            panels[0].yaxis.set_major_formatter("{x:g}")
            panels[1].set_ylim(0, 1.05)
        figure.suptitle("sparse 1x1 convolutions: one thin line per layer shape, geometric mean in bold", fontsize=9)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def write(report: Json, folder: Path) -> list[Path]:
    """Writes the three files, all or none; returns their paths."""
    return write_report("kernels", report, markdown, draw, folder)
