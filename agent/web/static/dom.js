// How does a tree of what should be there become what is there, without losing focus, selection or what was unfolded?

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "rect", "circle", "line", "g", "title"]);

/** An element. Text is only ever text: nothing that came over the wire is read as markup. */
export function h(tag, attributes, ...children) {
  const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** Make `old` look like `wanted`, changing only what differs. Children with a `data-key` keep their element. */
export function morph(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) {
    old.replaceWith(wanted);
    return wanted;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return old;
  }
  dress(old, wanted);
  const keyed = new Map();
  for (const child of old.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let place = old.firstChild;
  for (const child of [...wanted.childNodes]) {
    const match = child.dataset?.key ? keyed.get(child.dataset.key) : null;
    if (match) {
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      morph(match, child);
    } else if (place && !child.dataset?.key && !place.dataset?.key) {
      const next = place.nextSibling;
      morph(place, child);
      place = next;
    } else {
      old.insertBefore(child, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
  return old;
}

function dress(old, wanted) {
  for (const { name } of [...old.attributes]) {
    const belongsToTheReader = name === "open" && old.nodeName === "DETAILS";
    if (!wanted.hasAttribute(name) && !belongsToTheReader) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

/** A sentence in which `backticks` hold commands. */
export function sentence(text) {
  return String(text)
    .split("`")
    .map((piece, at) => (at % 2 ? h("code", null, piece) : piece));
}
