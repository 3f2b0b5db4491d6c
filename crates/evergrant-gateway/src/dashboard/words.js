// Numbers in words, and what they mean together.

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return 'unknown';
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? '−' : '';
  if (size < 10) return `${sign}${size.toFixed(1)} s`;
  if (size < 120) return `${sign}${Math.round(size)} s`;
  const [big, small, units] = size < 7200 ? [60, 1, ['min', 's']] : [3600, 60, ['h', 'min']];
  const rest = Math.floor((size % big) / small);
  return `${sign}${Math.floor(size / big)} ${units[0]}${rest > 0 ? ` ${rest} ${units[1]}` : ''}`;
}

export function millis(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const ms = seconds * 1000;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function count(number) {
  return (number ?? 0).toLocaleString('en');
}

export function rate(perSecond) {
  return perSecond >= 100 ? Math.round(perSecond).toLocaleString('en') : perSecond.toFixed(perSecond < 10 ? 1 : 0);
}

export function clockTime(secondsAgo) {
  const at = new Date(Date.now() - secondsAgo * 1000);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

// "3.2 s FAST" for people; the interval is shown beside it.
export const isSkewed = (interval) => Boolean(interval) && (interval.lo > SKEW_WARN || interval.hi < -SKEW_WARN);

export function skew(interval) {
  if (!interval) return 'unknown';
  const middle = (interval.lo + interval.hi) / 2;
  if (interval.lo <= 0 && interval.hi >= 0) return 'agrees';
  return `${duration(Math.abs(middle))} ${middle > 0 ? 'FAST' : 'SLOW'}`;
}

const STATES = {
  empty: 'no token yet', serving: 'serving', refreshing: 'serving, refresh under way',
  non_renewable: 'serving, cannot be renewed', refresh_failing: 'serving, refresh failing',
  failing: 'no token, refresh failing', rejected: 'no token, credential rejected',
};

export const stateWords = (state) => STATES[state] ?? state;

// What a person should know of one listener, worst first: [level, sentence].
function findings(listener, seen, isAlone) {
  const found = [];
  const name = isAlone ? '' : `${listener.profile}: `;
  const failure = listener.last_failure;
  const retry = listener.retry_in_s ? `; next try in ${duration(listener.retry_in_s)}` : '';
  if (!listener.ready) found.push(['bad', `${name}no usable token${failure ? `: ${failure}` : ''}${retry}`]);
  else if (listener.state === 'refresh_failing') {
    found.push(['warn', `${name}a token serves, but the last refresh failed: ${failure}${retry}`]);
  } else if (listener.state === 'non_renewable') {
    found.push(['warn', `${name}a token serves, but it cannot be renewed: a person has to log in`]);
  }
  if (listener.circuit_opens_in_s) {
    found.push(['warn', `${name}new tokens do not help against refusals; none is asked for because of one for ${duration(listener.circuit_opens_in_s)}`]);
  }
  const offset = listener.clock.local_minus_server_s;
  if (isSkewed(offset)) {
    found.push(['warn', `${name}this machine's clock is ${skew(offset)}; tokens are not affected, signed requests and log times are`]);
  }
  if (seen) found.push(['warn', `${name}a caller saw a 401 ${duration(seen.ago)} ago${seen.cause ? `, verdict ${seen.cause}` : ''}`]);
  return found;
}

export function health(status, isConnected, seenBy) {
  if (!isConnected) return { level: 'bad', headline: 'No connection to the gateway', findings: ['What is shown is what was last known.'] };
  if (!status) return { level: 'waiting', headline: 'Waiting for the gateway', findings: [] };
  const found = status.listeners.flatMap((listener) => findings(listener, seenBy(listener.profile), status.listeners.length === 1));
  if (status.draining) found.unshift(['warn', 'The gateway drains: requests in flight end, new ones are not taken.']);
  if (found.some(([level]) => level === 'bad')) {
    return { level: 'bad', headline: 'Callers get no answers', findings: found.map(([, text]) => text) };
  }
  if (found.length > 0) return { level: 'warn', headline: 'Working, with something to look at', findings: found.map(([, text]) => text) };
  const seen = status.listeners.reduce((sum, listener) => sum + listener.gateway.visible_401, 0);
  const kept = status.listeners.reduce((sum, listener) => sum + listener.gateway.replays, 0);
  const words = seen === 0 ? 'No caller has seen a 401' : 'No caller has seen a 401 in the last five minutes';
  return { level: 'good', headline: 'All is well', findings: [`${words}${kept > 0 ? `; ${count(kept)} were kept from callers` : ''}.`] };
}

// The gateway warns from the same offset on.
const SKEW_WARN = 10;
