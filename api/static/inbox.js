// The inbox. Texts are put into the page as text, never as HTML.

import { randomName } from "./dom.js";

const REFRESH = 10_000; // milliseconds

const $ = (id) => document.getElementById(id);
const dollars = new Intl.NumberFormat(undefined, {
  style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", maximumSignificantDigits: 2,
});
const REFUSED = { 401: "Only the key named operator may answer a customer. Log in with that one." };
const WRITERS = { user: "Customer", assistant: "Agent", agent: "Team" };
const times = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });

let conversations = [];
let chosen = null;
let filter = "attention";
let drawn = ""; // what the open conversation showed last
const drafts = new Map(); // replies that are being written, by hand-over
const sending = new Map(); // by hand-over, what was last sent, and its idempotency key

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

async function call(method, path, body, headers = {}) {
  const options = { method, headers };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    const error = new Error(problem.detail || `The service answered ${answer.status}.`);
    error.status = answer.status;
    throw error;
  }
  return answer;
}

function show(part) {
  $("login").hidden = part !== "login";
  $("inbox").hidden = part !== "inbox";
  $("log-out").hidden = part !== "inbox";
}

async function refresh() {
  try {
    const answer = await call("GET", "inbox/conversations");
    conversations = (await answer.json()).conversations;
  } catch (error) {
    if (error.status === 401) {
      $("status").textContent = "";
      show("login");
      $("key").focus();
    } else {
      $("status").textContent = error.status ? error.message : "The service can't be reached; trying again.";
    }
    return;
  }
  show("inbox");
  const open = conversations.filter((one) => one.handoff).length;
  const bad = conversations.filter((one) => !one.handoff && one.needs_attention).length;
  $("status").textContent = `${open} handed over, ${bad} to look at, ${conversations.length} in the last day`;
  drawList();
  await drawConversation();
}

function badge(one) {
  if (one.handoff) return make("span", { class: "badge open" }, "Handed over");
  const turns = [...one.turns].reverse();
  if (turns.some((turn) => turn.rating && turn.rating.score < 0.5)) return make("span", { class: "badge bad" }, "Rated badly");
  if (turns.some((turn) => turn.error)) return make("span", { class: "badge bad" }, "Failed");
  if (turns.some((turn) => !turn.answered)) return make("span", { class: "badge bad" }, "Not answered");
  return make("span", { class: "badge well" }, "Answered");
}

function drawList() {
  const shown = conversations.filter((one) => filter === "all" || one.handoff || one.needs_attention);
  const focused = document.activeElement?.dataset?.id;
  $("conversations").replaceChildren(
    ...shown.map((one) => {
      const last = one.turns[one.turns.length - 1];
      return make(
        "li",
        {},
        make(
          "button",
          { type: "button", "data-id": one.id, "aria-current": String(one.id === chosen), onclick: () => choose(one.id) },
          make("span", { class: "last", dir: "auto" }, last.question),
          make("span", { class: "about" }, badge(one), make("span", {}, one.tenant), make("span", {}, times.format(new Date(last.at)))),
        ),
      );
    }),
  );
  if (focused) $("conversations").querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  $("nothing").hidden = shown.length > 0;
  $("nothing").textContent = conversations.length ? "Nothing to look at." : "No conversations in the last day.";
}

async function choose(id) {
  chosen = id;
  drawn = "";
  $("inbox").classList.add("reading"); // a phone shows the list or a conversation
  drawList();
  await drawConversation();
  $("conversation").focus();
}

function close(...instead) {
  const left = chosen;
  chosen = null;
  $("inbox").classList.remove("reading");
  $("conversation").replaceChildren(...instead);
  drawList();
  $("conversations").querySelector(`[data-id="${CSS.escape(left)}"]`)?.focus();
}

async function drawConversation() {
  if (chosen === null) return;
  const one = conversations.find((each) => each.id === chosen);
  if (!one) {
    close(make("p", { class: "hint" }, "This conversation is gone: its customer has deleted it, or it is too old."));
    return;
  }
  let handoff = null;
  if (one.handoff) {
    handoff = await call("GET", `handoffs/${encodeURIComponent(one.handoff)}`)
      .then((answer) => answer.json())
      .catch(() => null); // it has just ended
  }
  const now = JSON.stringify([one, handoff]);
  if (now === drawn || chosen !== one.id) return; // so that what is being read or written stays as it is
  drawn = now;
  const writing = document.activeElement?.id === "reply";
  const turns = one.turns.map(turnOf);
  const open = $("conversation").querySelector("details")?.open ? "" : null;
  $("conversation").replaceChildren(
    make(
      "div",
      { class: "head" },
      make("button", { type: "button", id: "back", onclick: () => close() }, "Back"),
      make("h2", {}, one.tenant),
      badge(one),
    ),
    handoff ? make("p", { class: "hint", dir: "auto" }, about(handoff)) : "",
    ...(handoff ? [make("details", { open }, make("summary", {}, "What the agent answered, and what it cost"), ...turns)] : turns),
    ...(handoff ? [...handoff.messages.map(messageOf), replyOf(handoff)] : []),
  );
  if (writing) $("reply")?.focus();
  else if (handoff) $("reply").scrollIntoView({ block: "end" });
  else $("conversation").scrollTop = 0;
}

function about({ summary, expected_reply: reply }) {
  return reply ? `${summary} · reply expected by ${times.format(new Date(reply))}` : summary;
}

function turnOf(turn) {
  const isBad = turn.error || !turn.answered || (turn.rating && turn.rating.score < 0.5);
  const facts = [
    ["At", times.format(new Date(turn.at))],
    ["Category", turn.category],
    ["Tokens", turn.tokens_used ? turn.tokens_used.toLocaleString() : null],
    ["Cost", turn.cost === null ? null : dollars.format(turn.cost)],
    ["Rating", turn.rating ? `${turn.rating.score}${turn.rating.comment ? `: ${turn.rating.comment}` : ""}` : null],
    ["Sources", turn.sources.join(", ")],
    ["Run", turn.run_id],
  ];
  const list = make("dl");
  for (const [name, value] of facts) {
    if (value) list.append(make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value)));
  }
  return make(
    "article",
    { class: isBad ? "turn bad" : "turn" },
    make("p", { class: "said user question", dir: "auto" }, turn.question),
    turn.error ? make("p", { class: "failed" }, `Failed: ${turn.error}`) : null,
    turn.answer ? make("p", { class: "said answer", dir: "auto" }, turn.answer) : null,
    list,
    make(
      "div",
      { class: "actions" },
      make("button", { type: "button", onclick: () => makeCase(turn.run_id) }, "Make an evaluation case"),
      turn.trace_url ? make("a", { href: turn.trace_url, target: "_blank", rel: "noreferrer" }, "Trace in LangSmith") : null,
    ),
  );
}

/** Return the key of a reply: the same until it has arrived, or says something else. */
function keyOf(handoff, message) {
  if (sending.get(handoff)?.message !== message) sending.set(handoff, { message, key: randomName() });
  return sending.get(handoff).key;
}

function messageOf({ role, content }) {
  return make(
    "div",
    { class: `message ${role}` },
    make("p", { class: "writer" }, WRITERS[role]),
    make("p", { class: `said ${role}`, dir: "auto" }, content),
  );
}

function replyOf(handoff) {
  const box = make("textarea", { id: "reply", rows: "3", maxlength: "4000", dir: "auto", required: "" });
  box.value = drafts.get(handoff.id) ?? "";
  box.addEventListener("input", () => drafts.set(handoff.id, box.value));
  const failed = make("p", { class: "failed", role: "alert" });
  const act = async (path, body, headers) => {
    failed.textContent = "";
    lock(true); // a second press sends nothing
    try {
      await call("POST", `handoffs/${encodeURIComponent(handoff.id)}/${path}`, body, headers);
    } catch (error) {
      failed.textContent =
        REFUSED[error.status] ??
        (error.status ? error.message : "The service can't be reached. Please try again: a message is written once.");
      lock(false);
      return;
    }
    drafts.delete(handoff.id);
    sending.delete(handoff.id);
    await refresh();
  };
  const lock = (isLocked) => {
    for (const each of form.elements) each.disabled = isLocked;
  };
  const form = make(
    "form",
    {
      class: "turn",
      onsubmit: (event) => {
        event.preventDefault();
        act("messages", { message: box.value }, { "Idempotency-Key": keyOf(handoff.id, box.value) });
      },
    },
    make("label", { for: "reply" }, "Answer the customer"),
    box,
    failed,
    make(
      "div",
      { class: "actions" },
      make("button", { type: "submit" }, "Send"),
      make("button", { type: "button", onclick: () => act("release") }, "Give back to the agent"),
    ),
  );
  return form;
}

async function makeCase(runId) {
  let text;
  try {
    text = await (await call("GET", `inbox/cases/${runId}`)).text();
  } catch (error) {
    $("status").textContent = error.status ? error.message : "The service can't be reached.";
    return;
  }
  $("case-text").textContent = text;
  const link = $("case-download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
  link.download = `inbox-${runId}.yaml`;
  $("case").showModal();
}

$("case-close").addEventListener("click", () => $("case").close());
$("case-copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("case-text").textContent);
  } catch {
    getSelection().selectAllChildren($("case-text")); // without HTTPS a page can't copy: the reader's keys can
    return;
  }
  $("case-copy").textContent = "Copied";
  setTimeout(() => ($("case-copy").textContent = "Copy"), 2000);
});

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("login-error").textContent = "";
  try {
    await call("POST", "inbox/session", { key: $("key").value.trim() });
  } catch (error) {
    $("login-error").textContent = error.status === 401 ? "This is no valid key." : error.status ? error.message : "The service can't be reached.";
    return;
  }
  $("key").value = "";
  await refresh();
});

$("log-out").addEventListener("click", async () => {
  await call("DELETE", "inbox/session").catch(() => {});
  conversations = [];
  chosen = null;
  $("conversation").replaceChildren();
  await refresh();
});

for (const button of $("filters").children) {
  button.addEventListener("click", () => {
    filter = button.dataset.filter;
    for (const each of $("filters").children) each.setAttribute("aria-pressed", String(each === button));
    drawList();
  });
}

setInterval(() => {
  if (document.visibilityState === "visible" && !$("inbox").hidden) refresh();
}, REFRESH);
refresh();
