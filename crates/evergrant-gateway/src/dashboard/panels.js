// Everything that is not a plot: tiles, tables, budgets, verdicts, events.

import { byId, el, replace, say, table } from './dom.js';
import { now } from './feed.js';
import { SLOTS } from './timeline.js';
import { clockTime, count, duration, isSkewed, millis, rate, skew, stateWords } from './words.js';

export function tiles(listener) {
  const { gateway, clock, counters, active } = listener;
  const kept = gateway.upstream_401 - gateway.visible_401;
  const offset = clock.local_minus_server_s;
  const facts = [
    ['Requests', `${rate(gateway.recent.requests_per_s)}/s`, `${count(gateway.requests)} answered`],
    ['Answer time', millis(gateway.recent.p50_s), `1 in 100 takes ${millis(gateway.recent.p99_s)} or more`],
    ['401s seen by callers', count(gateway.visible_401), `${count(Math.max(kept, 0))} kept from them`, gateway.visible_401 > 0 ? 'warn' : ''],
    ['Token', active ? `g${active.generation}` : 'none', active ? `dead in ${duration(active.dead_in_s)}` : stateWords(listener.state), active ? '' : 'bad'],
    ['This clock', skew(offset), offset ? `${signed(offset.lo)} to ${signed(offset.hi)} s` : 'no date seen yet', isSkewed(offset) ? 'warn' : ''],
    ['Tokens minted', count(counters.mints), `${count(counters.token_failures)} token requests failed`, counters.token_failures > 0 && listener.last_failure ? 'warn' : ''],
  ];
  replace(byId('tiles'), ...facts.map(([name, big, sub, level]) => el('div', { 'data-level': level || null },
    el('dt', {}, name), el('dd', { class: 'big' }, big), el('dd', { class: 'sub' }, sub))));
}

export function tokens(listener) {
  say(byId('tokens-lead'), `${listener.provider} credential: ${stateWords(listener.state)}`);
  const rows = SLOTS.filter(([slot]) => listener[slot]).map(([slot, role]) => {
    const token = listener[slot];
    const trust = token.is_suspect ? 'refused, not accepted since' : token.is_proven ? 'accepted' : 'not used yet';
    return [`g${token.generation}`, role, trust, duration(token.age_s), duration(token.soft_in_s), duration(token.hard_in_s), duration(token.dead_in_s), duration(token.gone_in_s)]
      .map((text, at) => (at > 2 ? { number: text } : text));
  });
  table(byId('tokens'), ['Token', 'Role', 'By the API', 'Age', 'Soft in', 'Hard in', 'Dead in', 'Gone in'], rows, 'No token is at hand.');
}

export function budgets(listener) {
  const { counters, mint_budget: mint } = listener;
  const parts = [meter('Mint budget', mint.used, mint.limit, `${count(mint.used)} of ${count(mint.limit)} token requests in ${duration(mint.window_s)}`)];
  const facts = [
    ['Token requests', count(counters.token_requests)], ['Brought a token', count(counters.mints)],
    ['Failed', count(counters.token_failures)], ['Adopted', count(counters.adoptions)],
    ['Take at most', millis(listener.refresh_p99_s)], ['Lifetime', duration(listener.lifetime_s)],
    ['New tokens rest', duration(listener.settle_s)], ['A refresh ends the old token', listener.revokes_old ? 'yes, as learned' : 'not seen'],
    ['Circuit', listener.circuit_opens_in_s ? `open for ${duration(listener.circuit_opens_in_s)}` : 'closed'],
    ['Last failure', listener.last_failure ?? 'none'], ['Next try', listener.retry_in_s ? `in ${duration(listener.retry_in_s)}` : '–'],
  ];
  parts.push(el('dl', { class: 'facts' }, ...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))));
  replace(byId('budgets'), ...parts);
}

function meter(name, used, limit, words) {
  const part = limit > 0 ? Math.min(used / limit, 1) : 0;
  const level = part > 0.9 ? 'bad' : part > 0.7 ? 'warn' : 'good';
  const fill = el('div', { class: 'fill' });
  const bar = el('div', { class: 'bar', role: 'meter', 'aria-label': name, 'aria-valuemin': 0, 'aria-valuemax': limit, 'aria-valuenow': Math.min(used, limit), 'aria-valuetext': words }, fill);
  // The policy of the page forbids styles in markup; this is a property.
  fill.style.width = `${(part * 100).toFixed(1)}%`;
  return el('div', { class: 'meter', 'data-level': level }, el('span', {}, `${name}: ${words}`), bar);
}

export function verdicts(listener) {
  const seen = listener.gateway.visible_401_by_cause;
  const causes = Object.entries(listener.verdicts).sort(([, left], [, right]) => right - left);
  table(byId('causes'), ['Cause', 'Explained', '401s seen by callers'],
    causes.map(([cause, number]) => [el('code', {}, cause), { number: count(number) }, { number: count(seen[cause]) }]), 'Nothing was refused.');
  const home = byId('verdicts');
  const last = listener.recent_verdicts.slice(-8).reverse();
  const open = new Set([...home.querySelectorAll('details[open]')].map((node) => node.dataset.id));
  const focused = document.activeElement?.closest?.('details')?.dataset.id;
  const ids = last.map((verdict) => verdict.id).join();
  if (home.dataset.ids === ids) return;
  home.dataset.ids = ids;
  home.replaceChildren(...(last.length > 0 ? last.map((verdict) => verdictNode(verdict, open)) : [el('p', { class: 'none' }, 'None yet.')]));
  home.querySelector(`details[data-id="${CSS.escape(focused ?? '')}"] summary`)?.focus();
}

function verdictNode(verdict, open) {
  const sure = verdict.confidence === 'certain' ? 'bad' : 'warn';
  return el('details', { class: 'verdict', 'data-id': verdict.id, open: open.has(verdict.id) ? '' : null },
    el('summary', {}, el('code', {}, verdict.cause), ' ', el('span', { class: 'chip', 'data-level': sure }, verdict.confidence), ` ${verdict.evidence[0] ?? ''}`),
    el('p', { class: 'remedy' }, verdict.remedy),
    el('ul', {}, ...verdict.evidence.map((fact) => el('li', {}, fact))),
    el('p', {}, 'Fault: ', verdict.fault.replaceAll('_', ' '), '; id ', el('code', {}, verdict.id)));
}

const SIGNS = {
  token_minted: '+', token_adopted: '+', token_restored: '+', token_promoted: '▸', token_retired: '–', refresh_failed: '!', refresh_postponed: '!', login_required: '!',
  local_clock_step: '◷', server_clock_step: '◷', verdict: '✕', circuit_opened: '!', circuit_closed: '✓', reload_rejected: '!',
};

export function events(list) {
  const items = list.map((event) => {
    const times = event.times > 1 ? ` (${count(event.times)} times)` : '';
    return el('li', { 'data-event': event.event, 'data-trouble': event.is_trouble },
      el('time', {}, clockTime(now() - event.at)), el('span', { class: 'sign', 'aria-hidden': 'true' }, SIGNS[event.event] ?? '·'), el('span', {}, `${event.words}${times}`));
  });
  replace(byId('events'), ...(items.length > 0 ? items : [el('li', { class: 'none' }, 'Nothing yet.')]));
}

// Every number of a status, by its path.
export function numbers(listener) {
  const rows = [];
  const walk = (value, path) => {
    if (typeof value === 'number' || typeof value === 'boolean') rows.push([el('code', {}, path), { number: typeof value === 'number' ? String(Math.round(value * 1e6) / 1e6) : value ? 'yes' : 'no' }]);
    else if (value !== null && typeof value === 'object') for (const [key, inner] of Object.entries(value)) walk(inner, path ? `${path}.${value[key]?.source ?? key}` : key);
  };
  walk({ ...listener, recent_verdicts: undefined }, '');
  table(byId('numbers'), ['In /status', 'Value'], rows, 'Nothing yet.');
}

const signed = (number) => `${number > 0 ? '+' : ''}${number.toFixed(Math.abs(number) < 100 ? 2 : 0)}`;
