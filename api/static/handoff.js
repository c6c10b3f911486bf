// While a person has taken over: their answers, as they come.

import { pause, serverSentEvents } from "./events.js";
import { Problem, request } from "./service.js";
import { recall, remember } from "./storage.js";

const PAUSE = 3_000;
const LONGEST = 30_000; // ms between two tries

let following = null;

/** Follow what a person writes into a session, until `unfollow`. */
export function follow(session, onEvent) {
  if (following?.session === session) return;
  unfollow();
  const abort = new AbortController();
  following = { session, abort };
  read(session, onEvent, abort.signal).catch(() => {}).finally(() => {
    if (following?.abort === abort) following = null;
  });
}

export function unfollow() {
  following?.abort.abort();
  following = null;
}

async function read(session, onEvent, signal) {
  for (let tries = 0; !signal.aborted; tries++) {
    try {
      const last = recall("person");
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await request(`sessions/${session}/events`, { headers, signal });
      for await (const { id, event, data } of serverSentEvents(response)) {
        tries = 0;
        if (id) remember("person", id);
        onEvent(event, data);
      }
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 404 || problem.status === 401) return; // expired, or deleted
    }
    await pause(Math.min(PAUSE * 2 ** tries, LONGEST), signal);
  }
}
