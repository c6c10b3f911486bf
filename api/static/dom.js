// Makes elements; text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; what is not among its properties becomes an attribute, and `on…` a listener. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Make one of the icons that index.html holds. */
export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  made.append(use);
  return made;
}

/** Make a button that shows an icon alone. */
export function iconButton(name, label, onclick) {
  return element("button", { type: "button", className: "icon", title: label, "aria-label": label, onclick }, icon(name));
}

/** Let a screen reader say something. */
export function tell(words) {
  document.getElementById("told").textContent = words;
}

/** Return a random name, such as an idempotency key. */
export function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
