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

// Eight colors; settings beyond them are hollow and dashed.
const color = (i) => `var(--c${i % 8})`;
const dashes = (i) => ['none', '6 3', '2 3'][Math.floor(i / 8) % 3];
const dot = (i) => ({ fill: i < 8 ? color(i) : 'var(--panel)', stroke: color(i), 'stroke-width': 1.5, 'data-setting': i });
const count = (x) => Math.round(x).toLocaleString('en');
const percent = (x) => (100 * x).toFixed(2) + '%';
function short(x) {
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'K']]) {
    if (Math.abs(x) >= size) return +(x / size).toPrecision(3) + unit;
  }
  return String(+x.toPrecision(3));
}
const withHalf = (m, show) => (m ? show(m.mean) + (m.half === null ? '' : ` ± ${show(m.half).replace('%', '')}`) : '–');

// Round numbers between the smallest and the largest value, about five of them.
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
  return found.length > 2 ? found : ticks(low, high, 4).filter((x) => x > 0);
}

// Axes with a grid; returns the drawing and the two scales.
function frame({ x, y, xTicks, yTicks, xText, yText, xLabel, yLabel, xLog = false, yLog = false, width, height = 280, name }) {
  const left = 36 + 7 * Math.max(3, ...yTicks.map((t) => yText(t).length)); // of figures; and the axis's name
  const [right, top, bottom] = [14, 12, 46];
  const scale = (log, [from, to], start, end) => {
    const f = log ? Math.log : (v) => v;
    return (v) => start + ((f(v) - f(from)) / (f(to) - f(from) || 1)) * (end - start);
  };
  const px = scale(xLog, x, left, width - right);
  const py = scale(yLog, y, height - bottom, top);
  const svg = element('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': name });
  for (const t of yTicks) {
    svg.append(
      element('line', { class: 'grid', x1: left, x2: width - right, y1: py(t), y2: py(t) }),
      element('text', { x: left - 7, y: py(t) + 4, 'text-anchor': 'end' }, yText(t)),
    );
  }
  let free = 0; // where the next label may begin: labels that would touch are left out
  for (const t of xTicks) {
    const half = 3.6 * xText(t).length;
    if (px(t) - half < free) continue;
    free = px(t) + half + 4;
    svg.append(element('text', { x: Math.min(px(t), width - half), y: height - bottom + 17, 'text-anchor': 'middle' }, xText(t)));
  }
  svg.append(
    element('line', { class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }),
    element('text', { class: 'label', x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle' }, xLabel),
    element('text', { class: 'label', x: -(height - bottom + top) / 2, y: 12, 'text-anchor': 'middle', transform: 'rotate(-90)' }, yLabel),
  );
  return { svg, px, py };
}

function padded(values, share = 0.08) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low || Math.abs(high) || 1) * share;
  return [low - pad, high + pad];
}
function errorRange(rows) {
  // Intervals over two or three seeds can be so wide that they hide everything else: they may be cut off.
  const errors = rows.flatMap((r) => r.seeds.map((s) => s.error));
  const [low, high] = padded(errors, 0.1);
  const room = high - low;
  const ends = (sign) => rows.map((r) => r.top1.mean + sign * (r.top1.half ?? 0));
  return [
    Math.max(0, low - room, Math.min(low, ...ends(-1))),
    Math.min(1, high + room, Math.max(high, ...ends(1))),
  ];
}

// Long names are in the legend, and their numbers on the axis.
const numbered = (study) => Math.max(...study.settings.map((r) => r.label.length)) * study.settings.length > 36;
const rounded = (v) => percent(v).replace(/\.?0+%$/, '%'); // without zeros that say nothing

function interval(r, x, y, py, opacity) {
  if (r.top1.half === null) return '';
  const [low, high] = [Math.max(y[0], r.top1.mean - r.top1.half), Math.min(y[1], r.top1.mean + r.top1.half)];
  return element('line', { x1: x, x2: x, y1: py(low), y2: py(high), stroke: color(r.index), 'stroke-width': 2, 'stroke-dasharray': dashes(r.index), opacity, 'data-setting': r.index });
}

function bySetting(study, rows, y, width) {
  const places = rows.map((_, i) => i);
  const { svg, px, py } = frame({
    x: [-0.5, rows.length - 0.5], y, xTicks: places, yTicks: ticks(...y), xText: (i) => (numbered(study) ? `${rows[i].index + 1}` : rows[i].label),
    yText: rounded, xLabel: study.axis, yLabel: 'top-1 error', width, name: `Top-1 error by ${study.axis}`,
  });
  if (study.ordered) {
    const d = rows.map((r, i) => `${i ? 'L' : 'M'}${px(i)},${py(r.top1.mean)}`).join('');
    svg.append(element('path', { d, fill: 'none', stroke: 'var(--soft)', 'stroke-dasharray': '4 4' }));
  }
  rows.forEach((r, i) => {
    for (const s of r.seeds) {
      svg.append(element('circle', { cx: px(i) + 9, cy: py(s.error), r: 3, ...dot(r.index), opacity: 0.6 },
        element('title', {}, `${s.name}: ${percent(s.error)}`)));
    }
    svg.append(interval(r, px(i), y, py, 1), element('circle', { cx: px(i), cy: py(r.top1.mean), r: 5, ...dot(r.index) },
      element('title', {}, `${r.setting}: ${withHalf(r.top1, percent)} over ${r.top1.n} seeds`)));
  });
  return svg;
}

function byCost(study, rows, y, width, key, label) {
  const costs = rows.map((r) => r[key]);
  const x = [Math.min(...costs) / 1.15, Math.max(...costs) * 1.15];
  const { svg, px, py } = frame({
    x, y, xLog: true, xTicks: logTicks(...x), yTicks: ticks(...y), xText: short, yText: rounded,
    xLabel: label, yLabel: 'top-1 error', width, name: `Top-1 error by ${label}`,
  });
  const front = rows.filter((r) => r.pareto.includes(key)).sort((a, b) => a[key] - b[key]);
  svg.append(element('path', { d: front.map((r, i) => `${i ? 'L' : 'M'}${px(r[key])},${py(r.top1.mean)}`).join(''), fill: 'none', stroke: 'var(--accent)', 'stroke-width': 1.5 }));
  for (const r of rows) {
    svg.append(interval(r, px(r[key]), y, py, 0.5), element('circle', { cx: px(r[key]), cy: py(r.top1.mean), r: r.pareto.includes(key) ? 6 : 4, ...dot(r.index) },
      element('title', {}, `${r.setting}: ${count(r[key])} ${label}, ${withHalf(r.top1, percent)}`)));
  }
  return svg;
}

function errorPanels(study) {
  const rows = study.settings.filter((row) => row.top1);
  if (!rows.length) return [];
  const y = errorRange(rows);
  const cut = rows.some((r) => r.top1.mean + r.top1.half > y[1] || (r.top1.mean - r.top1.half < y[0] && y[0] > 0)) ? ' Intervals that end at the frame go on beyond it.' : '';
  const many = rows.some((r) => r.seeds.length > 1) ? 'Mean over seeds, its 95% interval, and each seed.' : 'One seed each.';
  const panels = [panel('Error by setting', plot((width) => bySetting(study, rows, y, width)), element('p', { class: 'soft' }, many + cut))];
  for (const [key, label, title] of [['parameters', 'parameters', 'Error by parameters'], ['macs', 'MACs', 'Error by multiply-adds']]) {
    const costly = rows.filter((row) => row[key]);
    if (new Set(costly.map((r) => r[key])).size < 2) continue;
    panels.push(panel(title, plot((width) => byCost(study, costly, y, width, key, label)), element('p', { class: 'soft' }, 'The line joins the Pareto front.')));
  }
  return panels;
}

function curves(study, metric, width) {
  const lines = study.members.filter((m) => (m.curves[metric] ?? []).length > 0);
  const points = lines.flatMap((m) => m.curves[metric]);
  const values = points.map((p) => p[1]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const yLog = metric.includes('loss') && low > 0 && high / low > 20;
  const y = yLog ? [low / 1.2, high * 1.2] : padded(values, 0.05);
  const steps = points.map((p) => p[0]);
  const x = [Math.min(...steps), Math.max(...steps)];
  const { svg, px, py } = frame({
    x, y, xTicks: ticks(...x, 4), yTicks: yLog ? logTicks(...y) : ticks(...y), xText: short, yText: metric.includes('error') ? rounded : short,
    width, height: 250, yLog, xLabel: 'step', yLabel: metric.includes('error') ? 'top-1 error' : metric.startsWith('gradient/') ? metric.split(/[/_]/)[1] : yLog ? 'nats (logarithmic)' : 'nats', name: `${metric} by step`,
  });
  for (const m of lines) {
    const d = m.curves[metric].map((p, i) => `${i ? 'L' : 'M'}${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`).join('');
    svg.append(element('path', { d, fill: 'none', stroke: color(m.index), 'stroke-width': 1.5, 'stroke-dasharray': dashes(m.index), opacity: 0.8, 'data-setting': m.index }, element('title', {}, m.name)));
    if (m.curves[metric].length < 6) for (const p of m.curves[metric]) svg.append(element('circle', { cx: px(p[0]), cy: py(p[1]), r: 2.5, ...dot(m.index) }, element('title', {}, `${m.name}: ${short(p[1])}`)));
  }
  return svg;
}

// Settings that the reader has picked in the legend; the others are faint.
const picked = new Set();
function fade() {
  for (const e of document.querySelectorAll('[data-setting]')) e.classList.toggle('faint', picked.size > 0 && !picked.has(e.dataset.setting));
  for (const b of document.querySelectorAll('.legend button')) b.setAttribute('aria-pressed', picked.has(b.dataset.of));
}
function legend(study) {
  const pick = (i) => { if (!picked.delete(i)) picked.add(i); fade(); };
  return element('div', { class: 'legend', role: 'group', 'aria-label': 'Settings to show' }, ...study.settings.map((r) => element(
    'button', { type: 'button', title: 'shows this setting alone, with others that are picked', class: r.index < 8 ? '' : 'hollow', style: `--color: ${color(r.index)}`, 'data-of': r.index, 'aria-pressed': 'false', onclick: () => pick(`${r.index}`) },
    (numbered(study) ? `${r.index + 1}: ` : '') + r.label,
  )));
}

// Drawings are made for the current width, and again when it changes, so that text keeps its size.
let plots = [];
function plot(draw) {
  const place = element('div');
  let width = 0;
  const fit = () => {
    if (!place.clientWidth || place.clientWidth === width) return;
    width = place.clientWidth;
    place.replaceChildren(draw(width));
    fade();
  };
  plots.push(fit);
  return place;
}
addEventListener('resize', () => plots.forEach((fit) => fit()));

function panel(title, ...content) {
  return element('section', { class: 'panel' }, element('h3', {}, title), ...content);
}

// A name may be broken after its commas.
const breakable = (name) => name.split(/(?<=,)/).flatMap((part) => [part, element('wbr')]);

// Columns are [heading, row => text, row => value to sort by].
function sortable(columns, rows, rowClass) {
  let [by, up] = [null, true];
  const body = element('tbody');
  const heads = columns.map(([heading], i) => {
    const head = element('th', { scope: 'col' });
    head.append(element('button', { type: 'button', onclick: () => { [by, up] = [i, by === i ? !up : true]; draw(); } }, heading));
    return head;
  });
  const names = Math.max(...rows.map((r) => columns[0][1](r).length));
  const table = element('table', { style: `--names: ${names}ch` }, element('thead', {}, element('tr', {}, ...heads)), body);
  let words = '';
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
    body.replaceChildren(...shown.map((r) => element('tr', { class: rowClass(r) }, ...columns.map(([, text], i) => element('td', {}, ...(i ? [text(r)] : breakable(text(r))))))));
  }
  draw();
  return { table: element('div', { class: 'scroll', tabindex: '0' }, table), filter: (text) => { words = text; draw(); } };
}

function settingsTable(study) {
  const pairs = (r) => (r.difference.n === r.top1.n ? '' : ` (${r.difference.n} of ${r.top1.n} seeds)`);
  const signed = (x) => (x >= 0 ? '+' : '−') + (100 * Math.abs(x)).toFixed(2);
  return sortable([
    ['setting', (r) => r.setting + (r.baseline ? ' (baseline)' : ''), (r) => r.index],
    ['parameters', (r) => count(r.parameters), (r) => r.parameters],
    ['MACs', (r) => count(r.macs), (r) => r.macs],
    ['seeds', (r) => (r.seeds.length === r.members ? `${r.members}` : `${r.seeds.length} of ${r.members}`)],
    ['top-1 error', (r) => withHalf(r.top1, percent), (r) => r.top1?.mean],
    ['top-5 error', (r) => withHalf(r.top5, percent), (r) => r.top5?.mean],
    ['loss', (r) => withHalf(r.loss, (x) => x.toFixed(4)), (r) => r.loss?.mean],
    ['difference, points', (r) => (r.difference ? signed(r.difference.mean) + (r.difference.half === null ? '' : ` ± ${(100 * r.difference.half).toFixed(2)}`) + pairs(r) : '–'), (r) => r.difference?.mean],
    ['p (Holm)', (r) => (r.difference?.p ? `${r.difference.p.toPrecision(2)} (${r.difference.holm.toPrecision(2)})` : '–'), (r) => r.difference?.p],
  ], study.settings, (r) => (r.baseline ? 'baseline' : '')).table;
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
  ], study.members, (m) => m.state);
  const input = element('input', { type: 'search', placeholder: 'filter: words of a row', 'aria-label': 'Filter members', oninput: (e) => made.filter(e.target.value) });
  return element('section', { class: 'panel' }, element('div', { class: 'bar' }, element('h3', {}, 'Members'), input), made.table);
}

function curvesPanel(study) {
  const metrics = [...new Set(study.members.flatMap((m) => Object.keys(m.curves)))].sort((a, b) => study.metrics.indexOf(a) - study.metrics.indexOf(b));
  if (!metrics.length) return panel('Learning curves', element('p', { class: 'soft' }, 'Nothing is logged yet.'));
  const drawn = metrics.map((metric) => element('figure', {}, element('figcaption', {}, metric), plot((width) => curves(study, metric, width))));
  return panel('Learning curves', legend(study), element('div', { class: 'plots' }, ...drawn));
}

function show(study) {
  for (const button of document.querySelectorAll('#studies button')) button.setAttribute('aria-pressed', button.textContent === study.name);
  plots = [];
  picked.clear();
  const errors = errorPanels(study);
  const failures = study.members.filter((m) => m.message);
  document.getElementById('main').replaceChildren(...[
    element('h2', {}, study.name),
    study.done < study.members.length ? element('p', { class: 'partial', role: 'status' }, `Partial: ${study.done} of ${study.members.length} members are done.`) : '',
    element('p', { class: 'soft' }, study.provenance),
    element('code', { tabindex: '0' }, study.command),
    element('div', { class: 'plots' }, ...errors),
    errors.length ? legend(study) : '',
    panel('Settings', settingsTable(study), element('p', { class: 'soft' }, study.note)),
    curvesPanel(study),
    membersTable(study),
    failures.length ? panel('What went wrong', element('ul', { class: 'failures' }, ...failures.map((m) => element('li', {}, `${m.name} (${m.state}, ${m.failures} failures): ${m.message}`)))) : '',
  ]);
  plots.forEach((fit) => fit());
}

document.getElementById('about').textContent = JSON.parse(document.getElementById('data').textContent).about;
if (studies.length > 1) {
  document.getElementById('studies').append(...studies.map((s) => element('button', { type: 'button', 'aria-pressed': 'false', onclick: () => { history.replaceState(null, '', '#' + encodeURIComponent(s.name)); show(s); } }, s.name)));
}
const wanted = decodeURIComponent(location.hash.slice(1));
show(studies.find((s) => s.name === wanted) ?? studies[0]);
