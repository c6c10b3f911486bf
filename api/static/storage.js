// What outlives a reload: in this tab alone, so that the next person at a shared computer finds nothing.
// A browser may refuse storage (in a foreign frame, by a setting); then the page remembers until it is closed.

import { around, tell } from "./frame.js";

const PREFIX = `support-agent:${location.pathname}:`;
const KEPT_ANSWERS = 50;
const memory = new Map(Object.entries(around?.kept ?? {}));

function stored() {
  try {
    return around ? null : window.sessionStorage;
  } catch {
    return null;
  }
}

export function recall(name) {
  try {
    return JSON.parse(stored().getItem(PREFIX + name)) ?? memory.get(name) ?? null;
  } catch {
    return memory.get(name) ?? null;
  }
}

export function remember(name, value) {
  memory.set(name, value);
  keepAround(name, value);
  try {
    stored().setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // It stays in memory.
  }
}

export function drop(...names) {
  for (const name of names) {
    memory.delete(name);
    keepAround(name, null);
    try {
      stored().removeItem(PREFIX + name);
    } catch {
      // It was in memory alone.
    }
  }
}

/** In a frame the page around it keeps what is to outlive a reload, but no key. */
function keepAround(name, value) {
  if (around && name !== "key") tell("keep", { name, value });
}

/** Keep what the service's history lacks of an answer: its run, category, sources … */
export function keepDetails(done) {
  const { run_id, category, sources, action, handoff, tokens_used, cached } = done;
  const details = { run_id, category, sources, action, handoff, tokens_used, cached };
  const kept = (recall("answers") ?? []).filter(([, { run_id: run }]) => run !== run_id);
  remember("answers", [...kept, [keyOf(done.answer), details]].slice(-KEPT_ANSWERS));
}

/** Return what is kept of each of these answers. */
export function detailsOf(answers) {
  const kept = [...(recall("answers") ?? [])];
  return answers.reduceRight((found, answer) => {
    const at = kept.findLastIndex(([key]) => key === keyOf(answer));
    return [at < 0 ? {} : kept.splice(at, 1)[0][1], ...found];
  }, []);
}

/** Return a short name of a text (FNV-1a): no words of a customer's are stored. */
function keyOf(words) {
  let hash = 0x811c9dc5;
  for (let at = 0; at < words.length; at++) hash = Math.imul(hash ^ words.charCodeAt(at), 0x01000193);
  return `${words.length}-${hash >>> 0}`;
}
