// Elements made in one call. Nothing here reads HTML: texts of users and of the server stay texts.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "multiple", "open", "textContent", "required"]);

/** An element. `settings`: class, data (object), on (event -> function), properties and attributes; null is left out. */
export function el(tag, settings = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else if (PROPERTIES.has(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Replace what an element has. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

let numbers = 0;

/** An id that no other element has. */
export function newId(word) {
  numbers += 1;
  return `${word}-${numbers}`;
}

/** Have screen readers say something, politely. */
export function say(text) {
  document.getElementById("spoken").textContent = text;
}

/** A drawing of the page: one path in a square of 24. */
export function icon(path, size = 28) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const attributes = { viewBox: "0 0 24 24", width: size, height: size, fill: "none", stroke: "currentColor" };
  Object.assign(attributes, { "stroke-width": 1.7, "stroke-linecap": "round", "stroke-linejoin": "round" });
  for (const [name, value] of Object.entries({ ...attributes, "aria-hidden": true })) svg.setAttribute(name, value);
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export const ICONS = {
  image: "M4 5h16v14H4z M4 16l5-5 4 4 3-3 4 4 M15.5 9.5h.01",
  download: "M12 4v11 M7 11l5 5 5-5 M5 20h14",
  video: "M3 6h12v12H3z M15 10l6-3v10l-6-3",
};
