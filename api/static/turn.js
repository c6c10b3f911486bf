// One message and its answer. A turn survives lost connections and restarts of the service: it reads on after the last
// event that it got, and asks anew where the service has lost the run, of which the conversation then keeps nothing.

import { randomName } from "./dom.js";
import { pause, serverSentEvents } from "./events.js";
import { Problem, request } from "./service.js";

const PATIENCE = 60_000; // ms that an answer tries to get its connection back
const FIRST_PATIENCE = 15_000; // ms that a message tries to be sent
const LONGEST_PAUSE = 4_000;
const BUSY = 4_000; // ms that a conversation may still be held by a run that was stopped
const MOST_TIMES = 4; // that a message is asked
const ENDED = ["interrupted", "shutting-down", "cancelled"];

export class Turn {
  /** `run` is that of a turn which was under way before a reload. */
  constructor(message, session, run = null) {
    this.message = message;
    this.session = session;
    this.stopped = false;
    this._run = run;
    this._last = "";
    this._asked = run ? 1 : 0;
    this._lostAt = 0;
    this._wasLost = Boolean(run);
    this._key = randomName();
    this._abort = new AbortController();
  }

  /**
   * Yield the run's events as {event, data}, and beside them: `lost` and `found` for the connection, and `again` where
   * the answer begins anew. The last is `done` or `error`; throws a Problem where there is no answer at all.
   */
  async *events() {
    for (let tries = 0; ; tries++) {
      try {
        for await (const { id, event, data } of serverSentEvents(await this._open())) {
          if (id) this._last = id;
          if (event === "run") this._started(data);
          else if (event === "error" && !this.stopped) throw problemOf(data, id);
          if (this._lostAt) {
            this._lostAt = tries = 0;
            yield { event: "found" };
          }
          yield { event, data };
          if (event === "done" || event === "error") return;
        }
        throw new Problem("offline"); // a proxy may end a cut stream as if it were whole
      } catch (problem) {
        if (this.stopped) {
          yield { event: "error", data: { type: "cancelled" } };
          return;
        }
        if (!(problem instanceof Problem) || !this._passes(problem)) throw problem;
        if (!this._lostAt) {
          this._lostAt = Date.now();
          yield { event: "lost", data: { type: problem.type } };
        }
        if (this._isGone(problem)) {
          yield { event: "again" };
          this._forget();
        }
      }
      await pause(Math.min(250 * 2 ** tries, LONGEST_PAUSE), this._abort.signal).catch(() => {});
    }
  }

  /** Stop the answer; what there is of it stays on the page. */
  async stop() {
    this.stopped = true;
    setTimeout(() => this._abort.abort(), this._run && !this._lostAt ? 2_000 : 0);
    if (this._run) await request(`runs/${this._run}`, { method: "DELETE" }).catch(() => {});
  }

  async _open() {
    const signal = this._abort.signal;
    if (this._run) {
      const headers = this._last ? { "Last-Event-ID": this._last } : {};
      return request(`runs/${this._run}/stream`, { headers, signal });
    }
    this._asked ||= 1;
    const body = this.session ? { message: this.message, session_id: this.session } : { message: this.message };
    // With the key, a repeated request gets the run that the first has started.
    const headers = { "Idempotency-Key": this._key };
    return request("chat/stream", { method: "POST", body, headers, signal });
  }

  _started({ run_id: run, session_id: session }) {
    this._run = run;
    this.session = session;
  }

  /** Tell whether to try again. */
  _passes(problem) {
    const { type, status, of } = problem;
    const waited = this._lostAt ? Date.now() - this._lostAt : 0;
    if (waited > (this._asked > 1 || this._run ? PATIENCE : FIRST_PATIENCE)) return false;
    if (this._isGone(problem)) return this._asked < MOST_TIMES && (type !== "cancelled" || this._wasLost);
    if (of === "run") return false;
    if (type === "session-busy") return this._asked > 1 || waited < BUSY;
    const isProxy = type === "about:blank" && [502, 503, 504].includes(status);
    return of === "stream" || isProxy || type === "offline" || type === "shutting-down";
  }

  /** Tell whether the run is lost, so that only asking anew helps. */
  _isGone({ type, status, of }) {
    return Boolean(this._run) && (of === "run" ? ENDED.includes(type) : status === 404 && !of);
  }

  _forget() {
    this._run = null;
    this._last = "";
    this._asked += 1;
    this._key = randomName();
  }
}

/** Return the problem of an `error` event; one without an id is of the stream alone. */
function problemOf({ type, status, request_id: requestId }, id) {
  return new Problem(type, { status, requestId, of: id ? "run" : "stream" });
}
