// Thumbs up and down, with a comment.

import { element, iconButton, tell } from "./dom.js";
import { text } from "./language.js";
import { request } from "./service.js";

/** Make the two thumbs, and put the form for a comment into `place`. */
export function rating(run, place) {
  const thumbs = [iconButton("up", text("good"), () => rate(1)), iconButton("down", text("bad"), () => rate(0))];
  for (const thumb of thumbs) thumb.setAttribute("aria-pressed", "false");

  async function rate(score) {
    thumbs.forEach((thumb, at) => thumb.setAttribute("aria-pressed", String(at === (score ? 0 : 1))));
    await send(score, null);
  }

  async function send(score, comment) {
    try {
      await request("feedback", { method: "POST", body: comment ? { run_id: run, score, comment } : { run_id: run, score } });
    } catch {
      for (const thumb of thumbs) thumb.setAttribute("aria-pressed", "false");
      say(text("notRated"));
      return;
    }
    if (comment) say(text("thanks"));
    else ask(score);
  }

  function ask(score) {
    const field = element("textarea", { rows: 2, maxLength: 4000, dir: "auto", id: `comment-${run}` });
    const form = element("form", { className: "comment" },
      element("label", { htmlFor: field.id }, text("comment")), field,
      element("button", { type: "submit", className: "button" }, text("commentSend")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const comment = field.value.trim();
      if (comment) send(score, comment);
      else say(text("thanks"));
      thumbs[score ? 0 : 1].focus();
    });
    place.replaceChildren(element("p", {}, text("thanks")), form);
    tell(text("thanks"));
    field.focus();
  }

  function say(words) {
    place.replaceChildren(element("p", {}, words));
    tell(words);
  }

  return thumbs;
}
