// The language of the page: the one of the address (?lang=), or the first of the browser's that there are texts in.

import { around } from "./frame.js";
import { TEXTS } from "./texts.js";

const wanted = [around?.lang, new URLSearchParams(location.search).get("lang"), ...navigator.languages];

export const LANGUAGE =
  wanted.map((tag) => (tag ?? "").slice(0, 2).toLowerCase()).find((tag) => Object.hasOwn(TEXTS, tag)) ?? "en";

/** Return a text in the page's language. */
export function text(name, values = {}) {
  return TEXTS[LANGUAGE][name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

/** Return a moment as people here write it. */
export function moment(iso) {
  return new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

/** Put the texts into the page's own elements. */
export function translate(company) {
  document.documentElement.lang = LANGUAGE;
  document.title = `${company} · ${text("subtitle")}`;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text, { company });
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
    if (element.tagName === "BUTTON") element.title = text(element.dataset.label);
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = text(element.dataset.placeholder);
  }
  document.body.classList.remove("bare");
}
