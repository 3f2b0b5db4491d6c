// The lives of the tokens at hand on one axis of time: overlap is make-before-break at work.

import { byId, draw } from './dom.js';
import { duration } from './words.js';

const ROW = 34;
const TOP = 20;
export const SLOTS = [['previous', 'previous'], ['active', 'serving'], ['candidate', 'settling']];

// Draws the listener's tokens; returns what a listener of the page needs to hear.
export function timeline(listener) {
  const svg = byId('timeline');
  const held = SLOTS.filter(([slot]) => listener[slot]).map(([slot, role]) => ({ ...listener[slot], role }));
  const width = Math.max(svg.parentElement.clientWidth, 240);
  const left = width < 520 ? 92 : 128;
  const height = TOP + Math.max(held.length, 1) * ROW + 22;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('height', height);
  // A life without a known end is drawn a little beyond the time of its refresh.
  const end = (token) => token.gone_in_s ?? Math.max(token.soft_in_s, 0) * 1.2 + 30;
  const from = Math.min(-1, ...held.map((token) => -token.age_s));
  const to = Math.max(1, ...held.map(end));
  const x = (seconds) => left + (width - left - 12) * (Math.min(Math.max(seconds, from), to) - from) / (to - from);
  const parts = [hatch()];
  held.forEach((token, row) => parts.push(...life(token, end(token), x, TOP + row * ROW, from)));
  const bottom = TOP + Math.max(held.length, 1) * ROW;
  parts.push(draw('line', { class: 'now', x1: x(0), x2: x(0), y1: TOP - 6, y2: bottom }));
  parts.push(draw('text', { class: 'strong', x: x(0), y: TOP - 9, 'text-anchor': 'middle' }, 'now'));
  const roomLeft = x(0) - left > 90;
  if (roomLeft) parts.push(draw('text', { x: left, y: height - 4 }, `${duration(-from)} ago`));
  if (width - x(0) > 100) parts.push(draw('text', { x: width - 12, y: height - 4, 'text-anchor': 'end' }, `in ${duration(to)}`));
  if (held.length === 0) parts.push(draw('text', { x: left, y: TOP + 20 }, 'no token at hand'));
  svg.replaceChildren(...parts);
  svg.setAttribute('aria-label', held.length === 0 ? 'No token is at hand' : held.map(sentence).join('. '));
}

function life(token, end, x, y, from) {
  const soft = token.soft_in_s;
  const hard = token.hard_in_s ?? end;
  const dead = token.dead_in_s ?? end;
  const bar = (name, start, stop) => {
    const [begins, ends] = [x(start), x(stop)];
    return ends - begins < 0.5 ? null : draw('rect', { class: `part-${name}`, x: begins, width: ends - begins, y: y + 6, height: 18, rx: 2 });
  };
  const past = x(0) > x(-token.age_s) ? draw('rect', { class: 'past', x: x(-token.age_s), width: x(0) - x(-token.age_s), y: y + 5, height: 20 }) : null;
  return [
    draw('text', { class: 'strong', x: 0, y: y + 20 }, `g${token.generation}`),
    draw('text', { x: 34, y: y + 20 }, token.role),
    bar('fresh', -token.age_s, Math.min(soft, end)),
    bar('soft', soft, hard),
    bar('hard', hard, dead),
    bar('dead', dead, end),
    past,
  ].filter((part) => part !== null);
}

function hatch() {
  const pattern = { id: 'hatch', width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' };
  return draw('defs', {}, draw('pattern', pattern, draw('line', { class: 'hatch', x1: 1, y1: 0, x2: 1, y2: 6 })));
}

function sentence(token) {
  const ends = token.dead_in_s === null ? 'its end is not known' : `dead in ${duration(token.dead_in_s)}`;
  return `Token g${token.generation}, ${token.role}, ${duration(token.age_s)} old, refresh in ${duration(token.soft_in_s)}, ${ends}`;
}
