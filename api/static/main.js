// The chat page: wires its parts together.

import { onActionFailed } from "./actions.js";
import * as conversation from "./conversation.js";
import { tell } from "./dom.js";
import { around, tell as tellAround } from "./frame.js";
import { follow, unfollow } from "./handoff.js";
import { text, translate } from "./language.js";
import { onKeyNeeded, Problem, request } from "./service.js";
import { closePanel } from "./sources.js";
import { detailsOf, drop, keepDetails, recall, remember } from "./storage.js";
import { Turn } from "./turn.js";

const OF_CONVERSATION = ["session", "answers", "turn", "person", "handoff"];
const WAIT = 5; // seconds, where a rate limit names none
const IDLE = 60_000; // ms after which a conversation may have expired
const PROMPT = 3_000; // ms that a look at it may take

const find = (id) => document.getElementById(id);
const [composer, field, sendButton, stopButton] = ["composer", "message", "send", "stop"].map(find);
const [forgetButton, freshButton] = ["forget", "fresh"].map(find);

let turn = null;
let lastAnswer = 0;
const written = new Set(); // ids of a person's messages

async function ask(message, { resumed = null, shown = false } = {}) {
  if (!shown) {
    if (lastAnswer && Date.now() - lastAnswer > IDLE) await lookAgain();
    conversation.said(message);
  }
  const answer = new conversation.Answer();
  turn = new Turn(message, recall("session"), resumed);
  const mine = turn;
  showBusy(true);
  answer.status(text("answering"));
  const retry = () => ask(message, { shown: true });
  try {
    for await (const { event, data } of mine.events()) {
      if (mine !== turn) return; // a new conversation has begun
      show(answer, event, data, retry);
    }
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (mine === turn) fail(answer, problem, retry);
  } finally {
    if (mine === turn) {
      turn = null;
      drop("turn");
      showBusy(false);
    }
  }
}

function show(answer, event, data, retry) {
  switch (event) {
    case "run":
      remember("session", data.session_id);
      remember("turn", { run: data.run_id, message: turn.message });
      forgetButton.hidden = false;
      break;
    case "category":
      answer.category(data.category);
      break;
    case "token":
      answer.grow(data.text);
      break;
    case "lost":
      answer.status(text({ offline: "lost", "session-busy": "busy" }[data.type] ?? "restarting"));
      break;
    case "found":
      answer.status(text("found"));
      break;
    case "again":
      answer.restart();
      break;
    case "done":
      finish(answer, data);
      break;
    case "error":
      fail(answer, new Problem(data.type), retry);
      break;
  }
}

function finish(answer, done) {
  lastAnswer = Date.now();
  keepDetails(done);
  answer.done(done);
  if (around && done.answer) tellAround("unread", 1);
  if (done.handoff) handOver(done.handoff);
}

const SENTENCES = {
  offline: "offline",
  unauthorized: "unauthorized",
  "rate-limited": "limited",
  "session-busy": "busy",
  "shutting-down": "draining",
  interrupted: "draining",
  "answer-withheld": "withheld",
  "content-filtered": "filtered",
  "context-too-long": "long",
  "too-large": "long",
  "model-timeout": "slow",
  "model-unavailable": "unavailable",
  "knowledge-unavailable": "unavailable",
  "memory-unavailable": "unavailable",
};

function fail(answer, { type, status, retryAfter, requestId }, retry) {
  const isStopped = type === "cancelled";
  const sentence = isStopped ? "stopped" : (SENTENCES[type] ?? ([502, 503, 504].includes(status) ? "unavailable" : "broken"));
  const wait = type === "rate-limited" ? retryAfter || WAIT : 0;
  answer.failed((seconds) => text(sentence, { seconds }), retry, { wait, requestId });
}

function handOver(handoff) {
  showHandoff(handoff);
  readOn();
}

function showHandoff(handoff) {
  if (recall("handoff")?.id === handoff.id) return;
  remember("handoff", handoff);
  conversation.handedOver(handoff);
}

function readOn() {
  follow(recall("session"), (event, data) => {
    if (event === "message" && data.role === "agent" && !written.has(data.id)) {
      written.add(data.id);
      conversation.personSaid(data.content, data.at);
      if (around) tellAround("unread", 1);
    }
    if (event !== "handoff") return;
    if (data.status === "open") {
      showHandoff(data);
    } else if (recall("handoff")) {
      drop("handoff");
      unfollow();
      conversation.note(text("released"));
    }
  });
}

/** Say so if the conversation has expired meanwhile, rather than let an answer know nothing of what stands above it. */
async function lookAgain() {
  try {
    await request(`sessions/${recall("session")}`, { method: "HEAD", signal: AbortSignal.timeout(PROMPT) });
  } catch (problem) {
    if (problem.status !== 404) return;
    unfollow();
    drop(...OF_CONVERSATION);
    conversation.note(text("expired"));
  }
}

/** Show the conversation of before a reload, and go on with an answer that was under way. */
async function restore() {
  const session = recall("session");
  if (!session) return;
  try {
    const { messages } = await (await request(`sessions/${session}`)).json();
    showHistory(messages);
  } catch (problem) {
    if (problem.status === 404 && !recall("turn")) {
      startAnew();
      conversation.note(text("expired"));
    } else if (problem.status !== 404) {
      conversation.note(text(SENTENCES[problem.type] ?? "unavailable"));
    }
  }
  const handoff = recall("handoff");
  if (handoff) readOn();
  forgetButton.hidden = !recall("session");
  const pending = recall("turn");
  if (pending) ask(pending.message, { resumed: pending.run });
}

function showHistory(messages) {
  const kept = detailsOf(messages.filter(({ role }) => role === "assistant").map(({ content }) => content));
  let handedOver;
  for (const { role, content, id, at } of messages) {
    if (role === "user") {
      conversation.said(content);
    } else if (role === "agent") {
      written.add(id);
      conversation.personSaid(content, at);
    } else {
      const details = kept.shift();
      new conversation.Answer().done({ answer: content, ...details }, { quietly: true });
      if (details.handoff && details.handoff.id !== handedOver) conversation.handedOver(details.handoff);
      handedOver = details.handoff?.id;
    }
  }
  lastAnswer = Date.now();
  tell(text("restored"));
}

function startAnew() {
  turn?.stop();
  turn = null;
  unfollow();
  closePanel();
  drop(...OF_CONVERSATION);
  conversation.clear();
  showBusy(false);
  forgetButton.hidden = true;
}

async function forget() {
  const session = recall("session");
  await turn?.stop();
  try {
    await request(`sessions/${session}`, { method: "DELETE" });
  } catch (problem) {
    if (problem.status !== 404) {
      conversation.note(text(SENTENCES[problem.type] ?? "broken"));
      return;
    }
  }
  startAnew();
  conversation.note(text("forgotten"));
  field.focus();
}

function showBusy(isBusy) {
  sendButton.hidden = isBusy;
  stopButton.hidden = !isBusy;
}

function fit() {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

/** Ask for a key; resolves to null if there is none to be had. */
function askForKey(isWrong) {
  const [dialog, value, wrong] = ["key", "key-value", "key-wrong"].map(find);
  wrong.textContent = isWrong ? text("keyWrong") : "";
  value.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  value.focus();
  return new Promise((resolve) => {
    const onSubmit = (event) => {
      if (event.submitter?.value !== "yes" || value.value.trim()) return;
      event.preventDefault();
      wrong.textContent = text("keyMissing");
    };
    dialog.addEventListener("submit", onSubmit);
    dialog.addEventListener("close", () => {
      dialog.removeEventListener("submit", onSubmit);
      resolve(dialog.returnValue === "yes" ? value.value.trim() : null);
    }, { once: true });
  });
}

async function send() {
  await restoring;
  const message = field.value.trim();
  if (!message || turn) return;
  field.value = "";
  fit();
  await ask(message);
}

function listen() {
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
    field.focus();
  });
  field.addEventListener("input", fit);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  stopButton.addEventListener("click", () => {
    turn?.stop();
    field.focus();
  });
  freshButton.addEventListener("click", () => {
    startAnew();
    tell(text("started"));
    field.focus();
  });
  forgetButton.addEventListener("click", () => find("sure").showModal());
  find("sure").addEventListener("close", () => (find("sure").returnValue === "yes" ? forget() : forgetButton.focus()));
}

const company = document.documentElement.dataset.company;
translate(company);
document.querySelector(".mark").textContent = [...company][0]?.toUpperCase() ?? "";
onKeyNeeded(askForKey);
onActionFailed(readOn);
listen();
const restoring = restore();
if (!recall("session")) field.focus({ preventScroll: true });
