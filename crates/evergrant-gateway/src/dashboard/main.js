// Puts the page together: what the feed tells goes to the plots and panels, once a second and whenever something happens.

import { byId, el, mark, replace, say, table } from './dom.js';
import { Feed, now } from './feed.js';
import { budgets, events, numbers, tiles, tokens, verdicts } from './panels.js';
import { clockPlot, latencyPlot, trafficPlot, windowFor } from './plots.js';
import { timeline } from './timeline.js';
import { clockTime, count, duration, health, millis, rate } from './words.js';

const feed = new Feed(() => requestRender());
const LINK = { waiting: 'connecting', live: 'live', lost: 'connection lost, trying again' };
const MARKS = { good: '✓', warn: '!', bad: '✕', waiting: '…' };
const TABLE_ROWS = 30;
let chosen = null;
let isAsked = false;

function requestRender() {
  if (isAsked) return;
  isAsked = true;
  // Not by animation frame: a page in the background must not fall behind.
  setTimeout(() => {
    isAsked = false;
    render();
  }, 50);
}

function render() {
  mark(byId('link'), 'state', feed.state);
  say(byId('link'), LINK[feed.state]);
  renderHealth();
  if (!feed.status) return;
  const listeners = feed.status.listeners;
  const listener = listeners.find(({ profile }) => profile === chosen) ?? listeners[0];
  renderChoice(listeners, listener);
  say(byId('where'), `${listener.gateway.listen} → ${listener.gateway.upstream}`);
  tiles(listener);
  timeline(listener);
  tokens(listener);
  budgets(listener);
  verdicts(listener);
  const happened = feed.eventsOf(listener.profile);
  events(happened);
  renderPlots(listener, happened);
  if (byId('every').open) numbers(listener);
}

function renderHealth() {
  const { level, headline, findings } = health(feed.status, feed.state !== 'lost', (profile) => feed.seenBy(profile));
  mark(byId('health'), 'level', level);
  say(byId('mark'), MARKS[level]);
  say(byId('headline'), headline);
  replace(byId('findings'), ...findings.map((text) => el('li', {}, text)));
  document.title = `${MARKS[level]} Evergrant: ${headline}`;
}

function renderChoice(listeners, listener) {
  byId('choice').hidden = listeners.length < 2;
  const options = listeners.map(({ profile }) => el('option', { value: profile, selected: profile === listener.profile ? '' : null }, profile));
  if (document.activeElement !== byId('listener')) replace(byId('listener'), ...options);
}

function renderPlots(listener, happened) {
  const skews = feed.skew.get(listener.profile) ?? [];
  const traffic = feed.traffic.get(listener.profile) ?? [];
  const seconds = Math.max(windowFor(skews), windowFor(traffic));
  const { clock, gateway } = listener;

  say(byId('clock-lead'), clock.words);
  say(byId('clock-assumptions'), clock.assumptions ? `Under these assumptions: ${clock.assumptions}.` : '');
  clockPlot(skews, happened, seconds);
  describe('clock', `${clock.words}; ${count(clock.local_steps)} steps of this machine's clock and ${count(clock.server_steps)} of the provider's`);

  const kept = gateway.upstream_401 - gateway.visible_401;
  say(byId('traffic-lead'), `${rate(gateway.recent.requests_per_s)} a second; ${count(gateway.in_flight)} in flight on ${count(gateway.connections)} connections`);
  trafficPlot(traffic, happened, seconds);
  describe('traffic', `${rate(gateway.recent.requests_per_s)} requests a second; ${count(Math.max(kept, 0))} 401s kept from callers, ${count(gateway.visible_401)} seen by them`);

  const words = `half of the answers within ${millis(gateway.recent.p50_s)}, 99 in 100 within ${millis(gateway.recent.p99_s)}`;
  say(byId('latency-lead'), words);
  latencyPlot(traffic, seconds);
  describe('latency', words);
  renderTables(skews, traffic);
}

function describe(id, words) {
  const text = `${byId(`${id}-title`).textContent}: ${words}`;
  if (byId(id).getAttribute('aria-label') !== text) byId(id).setAttribute('aria-label', text);
}

// A plot's table is made while it is open.
function renderTables(skews, traffic) {
  const when = (point) => clockTime(now() - point.at);
  const last = (points) => points.slice(-TABLE_ROWS).reverse();
  const fill = (name, heads, rows) => {
    const details = document.querySelector(`details[data-table="${name}"]`);
    if (details.open) table(details.querySelector('table'), heads, rows(), 'Nothing yet.');
  };
  const seconds = (number) => ({ number: number === null ? 'unknown' : duration(number) });
  fill('clock', ['Time', 'At least', 'At most'], () => last(skews).map((point) => [when(point), seconds(point.lo), seconds(point.hi)]));
  fill('traffic', ['Time', 'Requests', 'Failed', '401s kept', '401s seen'], () => last(traffic).map((window) => [
    when(window), ...[window.requests, window.failed, Math.max(window.upstream_401 - window.visible_401, 0), window.visible_401].map((number) => ({ number: count(number) })),
  ]));
  fill('latency', ['Time', 'Half', '99 in 100'], () => last(traffic).map((window) => [when(window), { number: millis(window.p50_s) }, { number: millis(window.p99_s) }]));
}

byId('listener').addEventListener('change', (change) => {
  chosen = change.target.value;
  requestRender();
});
document.addEventListener('toggle', requestRender, true);
addEventListener('resize', requestRender);
feed.connect();
