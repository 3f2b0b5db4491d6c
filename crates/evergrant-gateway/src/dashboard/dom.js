// Small helpers to make and fill elements. Text is always set as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Leaves a node alone that says so already: screen readers announce changes, and a selection survives.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function mark(node, name, value) {
  if (node.dataset[name] !== String(value)) node.dataset[name] = value;
}

// A table in place of the one before; the heads of numbers stand over their numbers.
export function table(node, heads, rows, empty) {
  const isNumber = (at) => rows.length > 0 && typeof rows[0][at] === 'object' && rows[0][at].number !== undefined;
  const cell = (value, at) => {
    const number = typeof value === 'object' && value.number !== undefined;
    const text = number ? value.number : value;
    return at === 0 ? el('th', { scope: 'row' }, text) : el('td', number ? { class: 'number' } : {}, text);
  };
  const head = heads.map((text, at) => el('th', { scope: 'col', class: isNumber(at) ? 'number' : null }, text));
  const body = rows.length > 0
    ? rows.map((row) => el('tr', {}, ...row.map(cell)))
    : [el('tr', {}, el('td', { colspan: heads.length, class: 'none' }, empty))];
  replace(node, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...body));
}

// Puts new children in place only if they differ, so that a page at rest stays at rest.
export function replace(node, ...children) {
  const before = [...node.childNodes];
  const isSame = before.length === children.length && before.every((old, at) => old.isEqualNode(children[at]));
  if (!isSame) node.replaceChildren(...children);
}
