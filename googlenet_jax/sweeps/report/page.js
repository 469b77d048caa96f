'use strict';
const studies = JSON.parse(document.getElementById('data').textContent).studies;
const SVG = 'http://www.w3.org/2000/svg';

function element(name, attributes = {}, ...children) {
  const made = name in SHAPES ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
const SHAPES = { svg: 1, g: 1, line: 1, circle: 1, path: 1, text: 1, title: 1, rect: 1 };

const color = (i) => `var(--c${i % 8})`;
const count = (x) => Math.round(x).toLocaleString('en');
const percent = (x) => (100 * x).toFixed(2) + '%';
function short(x) {
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'K']]) {
    if (Math.abs(x) >= size) return +(x / size).toPrecision(3) + unit;
  }
  return String(+x.toPrecision(3));
}
const withHalf = (m, show) => (m ? show(m.mean) + (m.half === null ? '' : ` ± ${show(m.half)}`) : '–');

// Round steps between the least and the greatest value, about five of them.
function ticks(low, high, wanted = 5) {
  const raw = (high - low || Math.abs(high) || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((s) => s * power >= raw) * power;
  const found = [];
  for (let x = Math.ceil(low / step - 1e-9) * step; x <= high + 1e-9 * step; x += step) found.push(x);
  return found;
}
function logTicks(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (const m of [1, 2, 5]) {
      const x = m * 10 ** p;
      if (x >= low && x <= high) found.push(x);
    }
  }
  return found.length > 1 ? found : [low, high];
}

// Axes with a grid; gives back the drawing and the two scales.
function frame({ x, y, xTicks, yTicks, xText, yText, xLabel, yLabel, log = false, width = 420, height = 290, name }) {
  const [left, right, top, bottom] = [60, 14, 12, 46];
  const f = log ? Math.log : (v) => v;
  const [x0, x1] = x.map(f);
  const px = (v) => left + ((f(v) - x0) / (x1 - x0 || 1)) * (width - left - right);
  const py = (v) => height - bottom - ((v - y[0]) / (y[1] - y[0] || 1)) * (height - top - bottom);
  const svg = element('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': name });
  for (const t of yTicks) {
    svg.append(
      element('line', { class: 'grid', x1: left, x2: width - right, y1: py(t), y2: py(t) }),
      element('text', { x: left - 7, y: py(t) + 4, 'text-anchor': 'end' }, yText(t)),
    );
  }
  const crowded = Math.max(...xTicks.map((t) => xText(t).length)) * xTicks.length > 58;
  for (const t of xTicks) {
    const at = [px(t), height - bottom + 17];
    const turned = crowded ? { 'text-anchor': 'end', transform: `rotate(-28 ${at})` } : { 'text-anchor': 'middle' };
    const label = xText(t);
    const shown = crowded && label.length > 14 ? label.slice(0, 13) + '…' : label;
    svg.append(element('text', { x: at[0], y: at[1], ...turned }, shown));
  }
  svg.append(
    element('line', { class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }),
    element('text', { class: 'label', x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle' }, crowded ? '' : xLabel),
    element('text', { class: 'label', x: -(height - bottom + top) / 2, y: 14, 'text-anchor': 'middle', transform: 'rotate(-90)' }, yLabel),
  );
  return { svg, px, py };
}

function padded(values, share = 0.08) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low || Math.abs(high) || 1) * share;
  return [low - pad, high + pad];
}
function errorRange(rows) {
  // Intervals of two or three seeds can be so wide that nothing else is seen: they may be cut off.
  const errors = rows.flatMap((r) => r.seeds.map((s) => s.error));
  const [low, high] = padded(errors, 0.1);
  const room = high - low;
  const ends = (sign) => rows.map((r) => r.top1.mean + sign * (r.top1.half ?? 0));
  return [
    Math.max(0, low - room, Math.min(low, ...ends(-1))),
    Math.min(1, high + room, Math.max(high, ...ends(1))),
  ];
}

function bySetting(study) {
  const rows = study.settings.filter((row) => row.top1);
  if (!rows.length) return null;
  const y = errorRange(rows);
  const places = rows.map((_, i) => i);
  const { svg, px, py } = frame({
    x: [-0.5, rows.length - 0.5], y, xTicks: places, yTicks: ticks(...y), xText: (i) => rows[i].label,
    yText: (v) => percent(v).replace('.00', ''), xLabel: study.axis, yLabel: 'top-1 error', name: `Top-1 error by ${study.axis}`,
  });
  const path = rows.map((r, i) => `${i ? 'L' : 'M'}${px(i)},${py(r.top1.mean)}`).join('');
  if (study.ordered) svg.append(element('path', { d: path, fill: 'none', stroke: 'var(--c7)', 'stroke-dasharray': '4 4' }));
  rows.forEach((r, i) => {
    for (const s of r.seeds) {
      svg.append(element('circle', { cx: px(i) + 9, cy: py(s.error), r: 3, fill: color(r.index), opacity: 0.55 },
        element('title', {}, `${s.name}: ${percent(s.error)}`)));
    }
    if (r.top1.half !== null) {
      svg.append(element('line', { x1: px(i), x2: px(i), y1: py(Math.max(y[0], r.top1.mean - r.top1.half)), y2: py(Math.min(y[1], r.top1.mean + r.top1.half)), stroke: color(r.index), 'stroke-width': 2 }));
    }
    svg.append(element('circle', { cx: px(i), cy: py(r.top1.mean), r: 5, fill: color(r.index) },
      element('title', {}, `${r.setting}: ${withHalf(r.top1, percent)} over ${r.top1.n} seeds`)));
  });
  return svg;
}

function byCost(study, key, label) {
  const rows = study.settings.filter((row) => row.top1 && row[key]);
  const costs = rows.map((r) => r[key]);
  if (new Set(costs).size < 2) return null;
  const x = [Math.min(...costs) / 1.15, Math.max(...costs) * 1.15];
  const y = errorRange(rows);
  const { svg, px, py } = frame({
    x, y, log: true, xTicks: logTicks(...x), yTicks: ticks(...y), xText: short, yText: (v) => percent(v).replace('.00', ''),
    xLabel: label, yLabel: 'top-1 error', name: `Top-1 error by ${label}`,
  });
  const front = rows.filter((r) => r.pareto.includes(key)).sort((a, b) => a[key] - b[key]);
  svg.append(element('path', { d: front.map((r, i) => `${i ? 'L' : 'M'}${px(r[key])},${py(r.top1.mean)}`).join(''), fill: 'none', stroke: 'var(--accent)', 'stroke-width': 1.5 }));
  for (const r of rows) {
    if (r.top1.half !== null) {
      svg.append(element('line', { x1: px(r[key]), x2: px(r[key]), y1: py(Math.max(y[0], r.top1.mean - r.top1.half)), y2: py(Math.min(y[1], r.top1.mean + r.top1.half)), stroke: color(r.index), 'stroke-width': 2, opacity: 0.5 }));
    }
    svg.append(element('circle', { cx: px(r[key]), cy: py(r.top1.mean), r: 5, fill: color(r.index), stroke: r.pareto.includes(key) ? 'var(--accent)' : 'none', 'stroke-width': 2 },
      element('title', {}, `${r.setting}: ${count(r[key])} ${label}, ${withHalf(r.top1, percent)}`)));
  }
  return svg;
}

function curves(study, metric) {
  const lines = study.members.filter((m) => (m.curves[metric] ?? []).length > 0);
  if (!lines.length) return element('p', { class: 'soft' }, 'No member has logged it yet.');
  const points = lines.flatMap((m) => m.curves[metric]);
  const y = padded(points.map((p) => p[1]), 0.05);
  const steps = points.map((p) => p[0]);
  const x = [Math.min(...steps), Math.max(...steps)];
  const { svg, px, py } = frame({
    x, y, xTicks: ticks(...x), yTicks: ticks(...y), xText: short, yText: (v) => (metric.includes('error') ? percent(v) : short(v)),
    width: 760, height: 330, xLabel: 'step', yLabel: metric, name: `${metric} by step`,
  });
  for (const m of lines) {
    const d = m.curves[metric].map((p, i) => `${i ? 'L' : 'M'}${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`).join('');
    svg.append(element('path', { d, fill: 'none', stroke: color(m.index), 'stroke-width': 1.5, opacity: 0.8 }, element('title', {}, m.name)));
    if (m.curves[metric].length === 1) svg.append(element('circle', { cx: px(m.curves[metric][0][0]), cy: py(m.curves[metric][0][1]), r: 3, fill: color(m.index) }));
  }
  return svg;
}

function legend(study) {
  return element('div', { class: 'legend' }, ...study.settings.map((r) => element('span', { style: `--color: ${color(r.index)}` }, r.label)));
}

function panel(title, ...content) {
  return element('section', { class: 'panel' }, element('h3', {}, title), ...content);
}

// Columns are [heading, row => text, row => value to sort by].
function sortable(columns, rows, { filter = '', rowClass = () => '' } = {}) {
  let [by, up] = [null, true];
  const body = element('tbody');
  const heads = columns.map(([heading], i) => {
    const head = element('th', { scope: 'col' });
    head.append(element('button', { type: 'button', onclick: () => { [by, up] = [i, by === i ? !up : true]; draw(); } }, heading));
    return head;
  });
  const table = element('table', {}, element('thead', {}, element('tr', {}, ...heads)), body);
  let words = filter;
  function draw() {
    const shown = rows.filter((r) => words.toLowerCase().split(/\s+/).every((w) => columns.some(([, text]) => text(r).toLowerCase().includes(w))));
    if (by !== null) {
      const value = columns[by][2] ?? columns[by][1];
      const empty = (v) => v === null || v === undefined || v === '';
      shown.sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        if (empty(p) || empty(q)) return empty(p) - empty(q);
        return (p < q ? -1 : p > q ? 1 : 0) * (up ? 1 : -1);
      });
    }
    heads.forEach((head, i) => (i === by ? head.setAttribute('aria-sort', up ? 'ascending' : 'descending') : head.removeAttribute('aria-sort')));
    body.replaceChildren(...shown.map((r) => element('tr', { class: rowClass(r) }, ...columns.map(([, text]) => element('td', {}, text(r))))));
  }
  draw();
  return { table: element('div', { class: 'scroll', tabindex: '0' }, table), filter: (text) => { words = text; draw(); } };
}

function settingsTable(study) {
  const signed = (x) => (x >= 0 ? '+' : '−') + (100 * Math.abs(x)).toFixed(2);
  return sortable([
    ['setting', (r) => r.setting + (r.baseline ? ' (baseline)' : ''), (r) => r.index],
    ['parameters', (r) => count(r.parameters), (r) => r.parameters],
    ['MACs', (r) => count(r.macs), (r) => r.macs],
    ['seeds', (r) => (r.seeds.length === r.members ? `${r.members}` : `${r.seeds.length} of ${r.members}`)],
    ['top-1 error', (r) => withHalf(r.top1, percent), (r) => r.top1?.mean],
    ['top-5 error', (r) => withHalf(r.top5, percent), (r) => r.top5?.mean],
    ['loss', (r) => withHalf(r.loss, (x) => x.toFixed(4)), (r) => r.loss?.mean],
    ['difference, points', (r) => (r.difference ? signed(r.difference.mean) + (r.difference.half === null ? '' : ` ± ${(100 * r.difference.half).toFixed(2)}`) : '–'), (r) => r.difference?.mean],
    ['p (Holm)', (r) => (r.difference?.p ? `${r.difference.p.toPrecision(2)} (${r.difference.holm.toPrecision(2)})` : '–'), (r) => r.difference?.p],
  ], study.settings, { rowClass: (r) => (r.baseline ? 'baseline' : '') }).table;
}

function membersTable(study) {
  const heads = [...new Set(study.members.flatMap((m) => Object.keys(m.heads)))];
  const optional = (x, show) => (x === null || x === undefined ? '–' : show(x));
  const made = sortable([
    ['member', (m) => m.name],
    ['id', (m) => m.id],
    ['state', (m) => m.state],
    ['parameters', (m) => count(m.parameters), (m) => m.parameters],
    ['MACs', (m) => count(m.macs), (m) => m.macs],
    ['top-1 error', (m) => optional(m.top1, percent), (m) => m.top1],
    ['top-5 error', (m) => optional(m.top5, percent), (m) => m.top5],
    ['loss', (m) => optional(m.loss, (x) => x.toFixed(4)), (m) => m.loss],
    ...heads.map((h) => [`${h} error`, (m) => optional(m.heads[h], percent), (m) => m.heads[h]]),
    ['seconds', (m) => optional(m.seconds, (x) => x.toFixed(0)), (m) => m.seconds],
    ['images/s', (m) => optional(m.rate, (x) => x.toFixed(0)), (m) => m.rate],
    ['device', (m) => m.device],
    ['revision', (m) => m.revision],
  ], study.members);
  const input = element('input', { type: 'search', placeholder: 'filter: words of a row', 'aria-label': 'Filter members', oninput: (e) => made.filter(e.target.value) });
  return element('section', { class: 'panel' }, element('div', { class: 'bar' }, element('h3', {}, 'Members'), input), made.table);
}

function curvesPanel(study) {
  const metrics = [...new Set(study.members.flatMap((m) => Object.keys(m.curves)))].sort();
  if (!metrics.length) return panel('Learning curves', element('p', { class: 'soft' }, 'Nothing is logged yet.'));
  const place = element('div');
  const draw = (metric) => place.replaceChildren(curves(study, metric));
  const choice = element('select', { 'aria-label': 'Figure', onchange: (e) => draw(e.target.value) }, ...metrics.map((m) => element('option', { value: m }, m)));
  choice.value = metrics.includes('train/loss') ? 'train/loss' : metrics[0];
  draw(choice.value);
  return element('section', { class: 'panel' }, element('div', { class: 'bar' }, element('h3', {}, 'Learning curves'), choice), place, legend(study));
}

function show(study) {
  for (const button of document.querySelectorAll('#studies button')) button.setAttribute('aria-pressed', button.textContent === study.name);
  const plots = [
    ['Error by setting', bySetting(study)],
    ['Error by parameters', byCost(study, 'parameters', 'parameters')],
    ['Error by multiply-adds', byCost(study, 'macs', 'MACs')],
  ].filter(([, svg]) => svg);
  const failures = study.members.filter((m) => m.message);
  document.getElementById('main').replaceChildren(...[
    element('h2', {}, study.name),
    study.done < study.members.length ? element('p', { class: 'partial', role: 'status' }, `Partial: ${study.done} of ${study.members.length} members are done.`) : '',
    element('p', { class: 'soft' }, study.provenance),
    element('code', { tabindex: '0' }, study.command),
    element('div', { class: 'plots' }, ...plots.map(([title, svg]) => panel(title, svg))),
    plots.length ? legend(study) : '',
    panel('Settings', settingsTable(study), element('p', { class: 'soft' }, study.note)),
    curvesPanel(study),
    membersTable(study),
    failures.length ? panel('What went wrong', element('ul', { class: 'failures' }, ...failures.map((m) => element('li', {}, `${m.name} (${m.state}, ${m.failures} failures): ${m.message}`)))) : '',
  ]);
}

document.getElementById('about').textContent = JSON.parse(document.getElementById('data').textContent).about;
if (studies.length > 1) {
  document.getElementById('studies').append(...studies.map((s) => element('button', { type: 'button', 'aria-pressed': 'false', onclick: () => { history.replaceState(null, '', '#' + encodeURIComponent(s.name)); show(s); } }, s.name)));
}
const wanted = decodeURIComponent(location.hash.slice(1));
show(studies.find((s) => s.name === wanted) ?? studies[0]);
