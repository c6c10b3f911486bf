// The articles that an answer rests on, and the panel that shows one with its passage marked.

import { element, icon } from "./dom.js";
import { text } from "./language.js";
import { rendered } from "./markdown.js";
import { Problem, request } from "./service.js";

const BETWEEN = " > "; // what the service joins headings by
const HEADING = /^H[1-6]$/;
const NARROW = window.matchMedia("(max-width: 63.99rem)");

const panel = document.getElementById("panel");
const title = document.getElementById("panel-title");
const article = panel.querySelector(".article");
const link = panel.querySelector(".link");
let opener = null;

/** Make the list of an answer's sources; null where there are none. */
export function sourceList(sources) {
  if (!sources?.length) return null;
  const items = sources.map((source) =>
    element("li", {}, element("button", { type: "button", className: "source", onclick: (event) => open(source, event.currentTarget) },
      icon("page"),
      element("span", { dir: "auto" }, source.title, source.section ? element("small", {}, source.section) : null),
    )),
  );
  const heading = element("h3", { id: `sources-${crypto.getRandomValues(new Uint32Array(1))[0]}` }, text("sources"));
  return element("div", { className: "sources" }, heading, element("ul", { "aria-labelledby": heading.id }, ...items));
}

async function open(source, from) {
  opener = from;
  title.textContent = source.title;
  article.replaceChildren(element("p", { className: "muted" }, text("loading")));
  showLink(source.url);
  if (!panel.open) {
    if (NARROW.matches) panel.showModal();
    else panel.show();
    document.body.classList.add("reading");
  }
  title.focus();
  const steps = source.id.split("/");
  try {
    if (steps.some((step) => /^\.*$/.test(step))) throw new Problem("not-found", { status: 404 }); // leads elsewhere
    const response = await request(`articles/${steps.map(encodeURIComponent).join("/")}`);
    show(await response.json(), source);
  } catch (problem) {
    article.replaceChildren(element("p", {}, text(problem.status === 404 ? "gone" : "unreadable")));
  }
}

function show(found, source) {
  if (title.textContent !== source.title) return; // another was opened meanwhile
  title.textContent = found.title;
  if (found.language) article.lang = found.language;
  showLink(found.url);
  article.replaceChildren(rendered(found.text, found.url ?? null));
  article.scrollTop = 0;
  mark(source.section)?.scrollIntoView({ block: "start" });
}

function showLink(url) {
  link.hidden = !/^https?:/i.test(url ?? "");
  if (link.hidden) link.removeAttribute("href");
  else link.href = url;
}

/** Mark the section under these headings, or the whole article's beginning where it has none of them. */
function mark(section) {
  const heading = section ? headingOf(section) : null;
  if (!heading) return null;
  const marked = element("div", { className: "passage" });
  heading.before(marked);
  let next = heading;
  do {
    const after = next.nextSibling;
    marked.append(next);
    next = after;
  } while (next && !(HEADING.test(next.nodeName) && next.nodeName <= heading.nodeName));
  return marked;
}

function headingOf(section) {
  const wanted = plain(section);
  let path = [];
  let nearest = null;
  for (const heading of article.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const level = Number(heading.nodeName[1]);
    path = [...path.filter((above) => above.level < level), { level, words: heading.textContent }];
    if (plain(path.map(({ words }) => words).filter(Boolean).join(BETWEEN)) === wanted) return heading;
    if (plain(heading.textContent) === plain(section.split(BETWEEN).at(-1))) nearest ??= heading;
  }
  return nearest;
}

function plain(words) {
  return words.replace(/[*_`\\\s]+/g, " ").trim().toLowerCase();
}

/** Close the panel, and go back to where it was opened from. */
export function closePanel() {
  if (panel.open) panel.close();
}

panel.addEventListener("close", () => {
  document.body.classList.remove("reading");
  if (opener?.isConnected) opener.focus();
});
panel.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closePanel(); // a panel beside the conversation does not close by itself
});
document.getElementById("panel-close").addEventListener("click", closePanel);
