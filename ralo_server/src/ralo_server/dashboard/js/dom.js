/* Elements out of data. What comes from the server becomes text or an attribute, never markup:
 * nothing in the dashboard uses innerHTML. */

const SVG = "http://www.w3.org/2000/svg";

/** Return an HTML element. `properties` are attributes; `on` holds listeners, `style` CSS
 * properties. A child that is null or false is left out, anything else is a node or text. */
export function h(tag, properties = {}, ...children) {
  return dress(document.createElement(tag), properties, children);
}

/** The same for an SVG element. */
export function s(tag, properties = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), properties, children);
}

/** Put `children` in place of what `node` holds. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter(isShown));
  return node;
}

/** A paragraph that says why there is nothing to see. */
export function empty(text) {
  return h("p", { class: "empty" }, text);
}

function dress(element, { on = {}, style = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (isShown(value)) element.setAttribute(name, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
  return fill(element, ...children);
}

function isShown(value) {
  return value !== null && value !== undefined && value !== false;
}
