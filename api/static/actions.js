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

/** Make the card of an action, which follows what becomes of it. */
export function actionCard(action) {
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
  }

  async function choose(confirm) {
    const buttons = choices.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
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
  return { card, look };
}
