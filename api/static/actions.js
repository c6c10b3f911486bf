// What the assistant proposes to do, and does when the customer says yes.

import { element, tell } from "./dom.js";
import { moment, text } from "./language.js";
import { request } from "./service.js";

const LOOK_AGAIN = 1_500; // ms
const SAYS = {
  begun: "begun",
  done: "actionDone",
  failed: "actionFailed",
  unknown: "actionUnknown",
  declined: "declined",
  expired: "actionExpired",
};

const cards = new Map(); // by the action's id
let onFailed = () => {};

/** Set what is called when an action failed: a person may take over. */
export function onActionFailed(act) {
  onFailed = act;
}

/** Make the card of an action; it and those before follow what becomes of it. */
export function actionCard(action) {
  for (const [id, { card, show, look }] of cards) {
    if (!card.isConnected) cards.delete(id);
    else if (id === action.id) show(action);
    else if (card.dataset.status === "proposed") look();
  }
  const state = element("p", { className: "muted" });
  const choices = element("div", { className: "row" },
    element("button", { type: "button", className: "button main", onclick: () => choose(true) }, text("confirm")),
    element("button", { type: "button", className: "button", onclick: () => choose(false) }, text("decline")));
  const card = element("section", { className: "card", tabIndex: -1, "aria-label": text("proposal") },
    element("h3", {}, text("proposal")), element("p", { dir: "auto" }, action.summary), choices, state);

  function show({ status, expires_at: until }) {
    const isOpen = status === "proposed";
    choices.hidden = !isOpen;
    state.textContent = isOpen ? text("proposed", { time: moment(until) }) : text(SAYS[status] ?? "begun");
    const isNew = card.dataset.status !== status;
    card.dataset.status = status;
    if (isNew && status === "begun") setTimeout(follow, LOOK_AGAIN);
    if (isNew && ["failed", "unknown"].includes(status)) onFailed();
  }

  async function choose(confirm) {
    const buttons = choices.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    if (confirm) state.textContent = text("begun");
    try {
      await settle(request(`actions/${action.id}`, { method: "POST", body: { confirm } }));
      card.focus();
    } catch (problem) {
      state.textContent = text("actionTrouble");
      if (problem.status >= 400 && problem.status < 500) await look(); // it has expired, or was decided elsewhere
    }
    for (const button of buttons) button.disabled = false;
    tell(state.textContent);
  }

  async function settle(answer) {
    show(await (await answer).json());
  }

  async function follow() {
    await look();
    if (card.dataset.status === "begun" && card.isConnected) setTimeout(follow, LOOK_AGAIN);
  }

  async function look() {
    const before = card.dataset.status;
    await settle(request(`actions/${action.id}`)).catch(() => {});
    if (card.dataset.status !== before) tell(state.textContent);
  }

  show(action);
  cards.set(action.id, { card, show, look });
  return { card, look };
}
