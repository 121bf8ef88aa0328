"""The report of `tulle sparsify`: one self-contained HTML file."""

from __future__ import annotations

from html import escape

from tulle.sparsify.oneshot import LayerResult, Sparsified

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --dim: #667080; --line: #dfe3e8; --paper: #fff;
  --dense: #c9d0d9; --sparse: #2f6fd0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #97a1ae; --line: #343b44; --paper: #15181c;
  --dense: #47505c; --sparse: #6ea3f2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p { margin: .25rem 0; max-width: 46rem; } .dim { color: var(--dim); }
dl { display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; margin: 1.5rem 0 0; }
dt { color: var(--dim); font-size: .85rem; }
dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--dim); text-align: right; vertical-align: bottom; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; } td { text-align: right; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
td:nth-child(2) { max-width: 22rem; overflow: hidden; text-overflow: ellipsis; direction: rtl; }
tfoot td { border-bottom: 0; font-weight: 600; }
svg { width: 100%; height: auto; display: block; } text { fill: var(--dim); font-size: 11px; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 1em; }
"""


def html(result: Sparsified, title: str) -> str:
    """The page: totals, a bar for each layer, and a table. `title` is the model's name for people."""
    layers = result.layers
    rows = "\n".join(_row(number, layer) for number, layer in enumerate(layers, start=1))
    size, zeros = sum(layer.size for layer in layers), sum(layer.zeros for layer in layers)
    macs, left = sum(layer.macs for layer in layers), sum(layer.nonzero_macs for layer in layers)
    dense, sparse = sum(layer.ms_dense for layer in layers), sum(layer.ms for layer in layers)
    images = f", {result.images} calibration images" if result.images else ""
    totals = [
        ("weights that are zero", f"{zeros / size:.1%}"),
        ("multiply-adds left", f"{left / 1e6:.1f} of {macs / 1e6:.1f} M"),
        ("estimated time of these layers", f"{sparse:.2f} of {dense:.2f} ms"),
        ("layers", str(len(layers))),
    ]
    facts = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in totals)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sparsified: {escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}, sparsified</h1>
<p class="dim">{result.method}, {result.allocation} allocation{images}</p>
<dl>{facts}</dl>
<h2>Estimated milliseconds of each layer</h2>
<p class="dim"><span class="key" style="background: var(--dense); margin-left: 0"></span>dense
<span class="key" style="background: var(--sparse)"></span>now</p>
{_chart(layers)}
<h2>Layers</h2>
<div class="scroll"><table>
<thead><tr><th>#</th><th>name</th><th>weights</th><th>pixels</th><th>zeros<br>before</th><th>zeros<br>now</th>
<th>M MACs<br>dense</th><th>M MACs<br>left</th><th>ms<br>dense</th><th>ms<br>now</th><th>output<br>error</th>
</tr></thead>
<tbody>
{rows}
</tbody>
<tfoot><tr><td></td><td>all</td><td>{size:,}</td><td></td>
<td>{sum(layer.zeros_before for layer in layers) / size:.1%}</td><td>{zeros / size:.1%}</td>
<td>{macs / 1e6:.2f}</td><td>{left / 1e6:.2f}</td><td>{dense:.3f}</td><td>{sparse:.3f}</td><td></td></tr></tfoot>
</table></div>
<h2>How to read it</h2>
<p>Milliseconds are predicted by tulle's cost model for one thread of the machine that it was fitted on; where sparse
kernels would be no faster, a layer runs dense. They compare layers and levels; measure the model itself for its
time.</p>
<p>The output error is the mean square of what a layer's output, after its activation, differs from the dense model's
on the calibration images, as a share of that output's variance. Later layers make up for part of it, so what counts is
the model's own measure on images of your own.</p>
</body>
</html>
"""


def _row(number: int, layer: LayerResult) -> str:
    error = "" if layer.error is None else f"{layer.error:.2%}"
    cells = [
        str(number), f"<bdi>{escape(layer.name)}</bdi>", f"{layer.outputs}×{layer.inputs}", f"{layer.pixels:,}",
        f"{layer.zeros_before / layer.size:.1%}", f"{layer.zeros / layer.size:.1%}", f"{layer.macs / 1e6:.2f}",
        f"{layer.nonzero_macs / 1e6:.2f}", f"{layer.ms_dense:.3f}", f"{layer.ms:.3f}", error,
    ]  # fmt: skip
    title = f' title="{escape(layer.name)}"'
    return "<tr>" + "".join(f"<td{title if i == 1 else ''}>{cell}</td>" for i, cell in enumerate(cells)) + "</tr>"


def _chart(layers: list[LayerResult]) -> str:
    """A pair of bars for each layer."""
    width, height, left, bottom = 960.0, 220.0, 34.0, 18.0
    top = max([layer.ms_dense for layer in layers] + [layer.ms for layer in layers]) or 1.0
    step = (width - left) / len(layers)
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = height - bottom - share * (height - bottom - 8)
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{share * top:.2f}</text>')
    every = -(-len(layers) // 32)  # leaves room for the numbers
    for index, layer in enumerate(layers):
        x = left + index * step
        for value, colour, shift in ((layer.ms_dense, "dense", 0.12), (layer.ms, "sparse", 0.5)):
            tall = value / top * (height - bottom - 8)
            parts.append(
                f'<rect x="{x + shift * step:.1f}" y="{height - bottom - tall:.1f}" width="{0.38 * step:.1f}" '
                f'height="{tall:.1f}" fill="var(--{colour})"/>'
            )
        if index % every == 0:
            parts.append(f'<text x="{x + step / 2:.1f}" y="{height - 4:.0f}" text-anchor="middle">{index + 1}</text>')
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="Estimated milliseconds of each layer, dense and now">{"".join(parts)}</svg>'
    )
