// Makes and keeps elements. Text is always text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(made, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

// Text that is the same is not written again, so that what is selected stays selected.
export function say(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function attr(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// Keeps one child of `parent` for each item, in their order: `make(item)` gives {element, update(item)}.
export class Rows {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.rows = new Map();
  }

  show(items, key) {
    const wanted = new Map(items.map((item) => [key(item), item]));
    for (const [name, row] of this.rows) {
      if (!wanted.has(name)) {
        row.element.remove();
        this.rows.delete(name);
      }
    }
    let at = this.parent.firstElementChild;
    for (const [name, item] of wanted) {
      let row = this.rows.get(name);
      if (!row) {
        row = this.make(item);
        this.rows.set(name, row);
      }
      if (row.element === at) at = at.nextElementSibling;
      else this.parent.insertBefore(row.element, at);
      row.update(item);
    }
  }

  one(name, item) {
    const row = this.rows.get(name);
    if (row) row.update(item);
  }
}
