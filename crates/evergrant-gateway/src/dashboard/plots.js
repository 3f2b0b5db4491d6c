// Plots over the last minutes, drawn as SVG. The newest moment is at the right edge.

import { byId, draw } from './dom.js';
import { now } from './feed.js';
import { millis } from './words.js';

const HEIGHT = 170;
const MARGIN = { left: 52, right: 10, top: 12, bottom: 22 };
const WINDOWS = [60, 120, 300, 600];

// The shortest window that holds all of the points.
export function windowFor(points) {
  const oldest = points.length > 0 ? now() - points[0].at : 0;
  return WINDOWS.find((seconds) => seconds >= oldest - 2) ?? WINDOWS.at(-1);
}

// A plot with its axes; `x` and `y` turn a moment and a value into places.
function plot(id, seconds, low, high, label, marks = ticks(low, high)) {
  const svg = byId(id);
  const width = Math.max(svg.parentElement.clientWidth, 240);
  svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute('height', HEIGHT);
  const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const x = (at) => MARGIN.left + inner.width * (1 - Math.min(Math.max((now() - at) / seconds, 0), 1));
  const y = (value) => MARGIN.top + inner.height * (1 - (value - low) / (high - low));
  const parts = [];
  for (const tick of marks) {
    parts.push(draw('line', { class: 'axis', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }));
    parts.push(draw('text', { x: MARGIN.left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, label(tick)));
  }
  for (const part of [1, 0.5, 0]) {
    const anchor = part === 1 ? 'start' : part === 0 ? 'end' : 'middle';
    const text = part === 0 ? 'now' : seconds * part < 120 ? `${seconds * part} s ago` : `${seconds * part / 60} min ago`;
    parts.push(draw('text', { x: MARGIN.left + inner.width * (1 - part), y: HEIGHT - 6, 'text-anchor': anchor }, text));
  }
  return { svg, x, y, parts, inner, bottom: MARGIN.top + inner.height };
}

// Three to five round numbers between two bounds.
export function ticks(low, high) {
  const rough = (high - low) / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((candidate) => candidate >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, at) => (first + at) * step);
}

// Bounds around all values, with some air.
function around(values, least) {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const air = Math.max((high - low) * 0.08, least / 2);
  return [low - (low < 0 ? air : 0), high + air];
}

// Runs of points without a hole; a hole is a point that is not known.
function runs(points, isKnown) {
  const all = [[]];
  for (const point of points) {
    if (isKnown(point)) all.at(-1).push(point);
    else if (all.at(-1).length > 0) all.push([]);
  }
  return all.filter((run) => run.length > 0);
}

const path = (points) => points.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');

export function clockPlot(points, events, seconds) {
  const known = points.filter((point) => point.lo !== null);
  const [low, high] = around(known.flatMap((point) => [point.lo, point.hi]), 1);
  const bounds = low === 0 ? [-high, high] : [low, high];
  const { svg, x, y, parts, bottom } = plot('clock', seconds, ...bounds, (tick) => `${tick > 0 ? '+' : ''}${round(tick)} s`);
  parts.push(draw('line', { class: 'zero', x1: x(-Infinity), x2: x(now()), y1: y(0), y2: y(0) }));
  for (const run of runs(points, (point) => point.lo !== null)) {
    const upper = run.map((point) => [x(point.at), y(point.hi)]);
    const lower = run.map((point) => [x(point.at), y(point.lo)]).reverse();
    parts.push(draw('path', { class: 'band', d: `${path([...upper, ...lower])}Z` }));
  }
  for (const step of events.filter((event) => event.event.endsWith('clock_step') && now() - event.at < seconds)) {
    parts.push(draw('line', { class: 'at-step', x1: x(step.at), x2: x(step.at), y1: MARGIN.top, y2: bottom }));
  }
  svg.replaceChildren(...parts);
}

export function trafficPlot(windows, events, seconds) {
  const shown = windows.filter((window) => now() - window.at < seconds);
  const [low, high] = around(shown.map((window) => window.requests / window.span_s), 2);
  const { svg, x, y, parts, bottom } = plot('traffic', seconds, low, high, (tick) => `${round(tick)}/s`);
  const outline = shown.flatMap((window) => {
    const rate = y(window.requests / window.span_s);
    return [[x(window.at - window.span_s), rate], [x(window.at), rate]];
  });
  if (outline.length > 0) {
    const closed = [[outline[0][0], bottom], ...outline, [outline.at(-1)[0], bottom]];
    parts.push(draw('path', { class: 'band', d: `${path(closed)}Z` }));
  }
  for (const mint of events.filter((event) => event.event === 'token_minted' && now() - event.at < seconds)) {
    parts.push(draw('line', { class: 'at-mint', x1: x(mint.at), x2: x(mint.at), y1: MARGIN.top, y2: bottom }));
  }
  for (const window of shown) {
    const kept = window.upstream_401 - window.visible_401;
    if (kept > 0) parts.push(draw('circle', { class: 'at-hidden', cx: x(window.at), cy: bottom - 9, r: 5 }));
    if (window.visible_401 > 0) {
      const at = x(window.at);
      const [top, end] = [MARGIN.top + 1, MARGIN.top + 15];
      parts.push(draw('path', { class: 'at-seen', d: `M${at} ${top}L${at + 7} ${(top + end) / 2}L${at} ${end}L${at - 7} ${(top + end) / 2}Z` }));
    }
  }
  svg.replaceChildren(...parts);
}

export function latencyPlot(windows, seconds) {
  const shown = windows.filter((window) => now() - window.at < seconds);
  // Powers of ten: a local answer and one that waited for a token differ by thousands, and both matter.
  const power = (time) => Math.log10(Math.max(time * 1000, 0.1));
  const values = shown.flatMap((window) => [window.p50_s, window.p99_s]).filter((time) => time !== null).map(power);
  const [low, high] = [Math.floor(Math.min(0, ...values)), Math.ceil(Math.max(1, ...values))];
  const marks = Array.from({ length: high - low + 1 }, (_, at) => low + at);
  const { svg, x, y, parts } = plot('latency', seconds, low, high, (tick) => millis(10 ** tick / 1000).replace('.0', ''), marks);
  for (const name of ['p50', 'p99']) {
    for (const run of runs(shown, (window) => window[`${name}_s`] !== null)) {
      parts.push(draw('path', { class: `line ${name}`, d: path(run.map((window) => [x(window.at), y(power(window[`${name}_s`]))])) }));
    }
  }
  svg.replaceChildren(...parts);
}

const round = (number) => String(Math.round(number * 1000) / 1000);
