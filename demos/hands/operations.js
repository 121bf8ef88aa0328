// Time by kind of operation: grouping a profile's rows, and showing the groups as a bar and a table.

/** @typedef {import('../../web/src/index.js').ProfileRow} Row */

const POINTWISE = '1×1 convolution';
const DEPTHWISE = 'depthwise convolution';
const ENTRY = 'entry convolution';
const REST = 'everything else';

/** In the order shown; style.css gives each a tone, by its place. */
const KINDS = [POINTWISE, DEPTHWISE, ENTRY, REST];

/** @param {Row} row */
function kindOf(row) {
  if (row.op === 'depthwise_conv2d') return DEPTHWISE;
  if (row.op !== 'conv2d') return REST;
  return row.kernel.includes('_conv') ? ENTRY : POINTWISE; // 1×1 runs as a matrix product: f32_spmm_*, f32_gemm_*
}

/**
 * @param {Iterable<Row>} profile
 * @returns {Map<string, number>} milliseconds by kind
 */
export function groupTimes(profile) {
  const times = new Map(KINDS.map((kind) => [kind, 0]));
  for (const row of profile) times.set(kindOf(row), (times.get(kindOf(row)) ?? 0) + row.ms);
  return times;
}

/**
 * Shows the times of both networks on one scale.
 * @param {{ dense: HTMLElement, sparse: HTMLElement }} bars
 * @param {HTMLTableSectionElement} body of a table with the columns kind, dense, sparse
 * @param {{ dense: Map<string, number>, sparse: Map<string, number> }} times milliseconds by kind
 */
export function showOperations(bars, body, times) {
  const total = (/** @type {Map<string, number>} */ side) => [...side.values()].reduce((sum, ms) => sum + ms, 0);
  const totals = { dense: total(times.dense), sparse: total(times.sparse) };
  const scale = Math.max(totals.dense, totals.sparse);
  for (const side of /** @type {const} */ (['dense', 'sparse'])) {
    bars[side].replaceChildren(
      ...KINDS.map((kind, i) => {
        const share = (times[side].get(kind) ?? 0) / scale || 0; // 0 / 0 before the first frame
        const part = document.createElement('div');
        part.className = `tone-${i + 1}`;
        part.style.width = `${100 * share}%`;
        if (share > 0.15) part.textContent = kind.replace(' convolution', ''); // where the words fit
        return part;
      }),
    );
  }
  body.replaceChildren(
    ...KINDS.map((kind, i) => tableRow(kind, times.dense.get(kind), times.sparse.get(kind), `tone-${i + 1}`)),
    tableRow('together', totals.dense || undefined, totals.sparse || undefined),
  );
}

/**
 * @param {string} name
 * @param {number | undefined} dense milliseconds
 * @param {number | undefined} sparse milliseconds
 * @param {string} [tone] class of the kind's colour in the bars
 */
function tableRow(name, dense, sparse, tone) {
  const row = document.createElement('tr');
  const heading = document.createElement('th');
  heading.scope = 'row';
  if (tone) {
    for (const side of ['dense', 'sparse']) {
      const swatch = document.createElement('span');
      swatch.className = `swatch ${side} ${tone}`;
      heading.append(swatch);
    }
  }
  heading.append(name);
  row.append(heading);
  for (const value of [dense, sparse]) row.insertCell().textContent = value?.toFixed(2) ?? '–';
  return row;
}
