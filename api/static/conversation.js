// The conversation as it is seen: messages, answers that grow, and what stands below them.

import { actionCard } from "./actions.js";
import { element, icon, iconButton, tell } from "./dom.js";
import { moment, text } from "./language.js";
import { GrowingText, rendered } from "./markdown.js";
import { rating } from "./rating.js";
import { sourceList } from "./sources.js";

const NEAR = 120; // pixels from the end within which a reader follows what is new
const COPIED = 2_000; // ms
const DEBUG = new URLSearchParams(location.search).has("debug");

const log = document.getElementById("log");
const messages = document.getElementById("messages");
const greeting = document.getElementById("greeting");
let follows = true;

log.addEventListener("scroll", () => {
  follows = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
}, { passive: true });

function toEnd() {
  if (follows) log.scrollTop = log.scrollHeight;
}

function put(...nodes) {
  greeting.hidden = true;
  messages.append(...nodes);
  toEnd();
}

export function clear() {
  messages.replaceChildren();
  greeting.hidden = false;
}

/** Show a line of the page's own. */
export function note(words) {
  put(element("p", { className: "note" }, words));
  tell(words);
}

/** Show a customer's message. */
export function said(words) {
  follows = true;
  put(element("div", { className: "said", dir: "auto" }, element("h2", { className: "unseen" }, text("you")), words));
}

/** Show what a person of the company wrote. */
export function personSaid(content, at) {
  const head = element("div", { className: "meta" }, element("h2", { className: "person" }, text("person")));
  if (at) head.append(element("time", { dateTime: at }, moment(at)));
  put(element("article", { className: "answer" }, head, element("div", { className: "text" }, rendered(content))));
  tell(`${text("person")}: ${content}`);
}

/** Show that a person takes over. */
export function handedOver({ expected_reply: reply }) {
  put(element("section", { className: "card", "aria-label": text("handoff") }, element("h3", {}, text("handoff")),
    element("p", {}, reply ? text("reply", { time: moment(reply) }) : text("replySoon"))));
  tell(text("handoff"));
}

/** An answer from its first sign to its end. */
export class Answer {
  constructor() {
    this._badge = element("span", { className: "badge", hidden: true });
    this._body = element("div", { className: "text" });
    this._status = element("span", { className: "status" });
    this._below = element("div", { className: "below" });
    this._article = element("article", { className: "answer", "aria-busy": "true" },
      element("div", { className: "meta" }, element("h2", {}, text("assistant")), this._badge, this._status),
      this._body, this._below);
    this._growing = new GrowingText(this._body, toEnd);
    put(this._article);
  }

  get text() {
    return this._growing.text;
  }

  category(name) {
    this._badge.textContent = name;
    this._badge.hidden = !name;
    this._badge.dir = "auto";
  }

  grow(piece) {
    this._growing.add(piece);
  }

  /** Begin anew: the service has lost what it had written. */
  restart() {
    this._growing.clear();
  }

  status(words) {
    this._status.replaceChildren(element("span", { className: "words" }, words), element("span", { className: "dots", "aria-hidden": "true" }));
    tell(words);
  }

  /** Show the whole answer, and all that belongs to it. */
  done(done, { quietly = false, requestId = "" } = {}) {
    if (this._growing.text !== done.answer) {
      this._growing.clear();
      this._growing.text = done.answer;
    }
    this._end();
    if (!done.answer && !done.action) { // passed on
      this._article.remove();
      return;
    }
    if (done.category) this.category(done.category);
    const opinion = element("div", { className: "opinion" });
    if (done.answer) {
      const tools = element("div", { className: "tools" }, this._copyButton(done.answer));
      if (done.run_id) tools.append(...rating(done.run_id, opinion));
      this._add(tools);
    }
    this._add(opinion, sourceList(done.sources));
    if (done.action) this._propose(done.action, quietly);
    if (DEBUG && done.run_id) this._add(debugLine(done, requestId));
    if (!quietly) tell(text("answered", { text: this._body.textContent.trim() }));
    toEnd();
  }

  /** Show that there is no (whole) answer, why, and a way on. */
  failed(words, onRetry, { wait = 0, requestId = "" } = {}) {
    this._end();
    const line = element("p", { className: "trouble" }, words(wait));
    this._add(line);
    if (DEBUG && requestId) this._add(element("p", { className: "debug" }, requestId));
    tell(line.textContent);
    if (onRetry) {
      const retry = element("button", { type: "button", className: "button", onclick: () => (this._article.remove(), onRetry()) },
        icon("again"), text("retry"));
      retry.disabled = wait > 0;
      this._add(retry);
      if (wait) countDown(line, retry, words, wait);
    }
    toEnd();
  }

  _end() {
    this._growing.finish();
    this._status.remove();
    this._article.removeAttribute("aria-busy");
  }

  _add(...nodes) {
    this._below.append(...nodes.filter(Boolean));
  }

  _propose(action, restored) {
    const { card, look } = actionCard(action);
    this._add(card);
    if (restored) look();
  }

  _copyButton(answer) {
    const button = iconButton("copy", text("copy"), async () => {
      try {
        await navigator.clipboard.writeText(answer);
      } catch {
        select(this._body); // a frame may not write to the clipboard: the reader's own keys can
        return;
      }
      button.replaceChildren(icon("done"));
      tell(text("copied"));
      setTimeout(() => button.replaceChildren(icon("copy")), COPIED);
    });
    return button;
  }
}

function select(node) {
  const selection = window.getSelection();
  selection.removeAllRanges();
  const range = document.createRange();
  range.selectNodeContents(node);
  selection.addRange(range);
}

function countDown(line, retry, words, seconds) {
  const end = Date.now() + seconds * 1000;
  const timer = setInterval(() => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      line.textContent = words(left);
      return;
    }
    clearInterval(timer);
    retry.disabled = false;
    line.textContent = text("limitOver");
    if (line.isConnected) tell(text("limitOver"));
  }, 500);
}

function debugLine({ run_id: run, tokens_used: tokens, cached }, requestId) {
  const words = `run ${run} · tokens ${tokens ?? "?"} · cached ${cached ?? "?"}`;
  return element("p", { className: "debug" }, requestId ? `${words} · request ${requestId}` : words);
}
