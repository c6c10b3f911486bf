// Requests to the service, and who asks. Addresses are relative, so that the page works behind any path prefix.

import { around, fromParent, tell } from "./frame.js";
import { drop, recall, remember } from "./storage.js";

const EARLY = 30_000; // ms before its end that a visitor's token is renewed

/** Something that the service, or the way to it, refused. */
export class Problem extends Error {
  /** `of` is what an `error` event ends: a run, or the stream alone. */
  constructor(type, { status = 0, retryAfter = 0, requestId = "", of = null } = {}) {
    super(type);
    Object.assign(this, { type, status, retryAfter, requestId, of });
  }
}

let minting = null; // a promise of {token, until}, or of null where there are no tokens for visitors
let askForKey = async () => null;

/** Set what asks for a key; it gets whether the last one was wrong, and resolves to a key or null. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Return the headers that say who asks: a key, a visitor's token, or nothing where the service is open. */
export async function credentials() {
  const key = recall("key");
  if (key) return bearer(key);
  const given = around && (await fromParent().catch(() => ({}))).token;
  if (given) return bearer(given);
  const visitor = recall("visitor");
  if (visitor?.until > Date.now()) return bearer(visitor.token);
  minting ??= mint(visitor?.token);
  const minted = await minting;
  if (minted) minting = null;
  return minted ? bearer(minted.token) : {};
}

function bearer(token) {
  return { Authorization: `Bearer ${token}` };
}

/** Get a visitor's token; with the last one it is the same visitor's, whose conversation goes on. */
async function mint(last) {
  try {
    const response = await fetch("visitors/anonymous", { method: "POST", headers: last ? bearer(last) : {} });
    if ([403, 404].includes(response.status)) return null; // the service is not public
    if (!response.ok) throw await problemOf(response);
    const { token, expires_in: seconds } = await response.json();
    const minted = { token, until: Date.now() + Math.max(seconds * 1000 - EARLY, 1000) };
    remember("visitor", minted);
    return minted;
  } catch (problem) {
    minting = null; // ask again with the next request
    throw problem instanceof Problem ? problem : new Problem("offline");
  }
}

/** Send a request; resolves to a response that is not an error, else throws a Problem. */
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  let renewed = false;
  for (;;) {
    const sent = { ...(await credentials()), ...headers };
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const response = await send(path, { method, body: body && JSON.stringify(body), headers: sent, signal });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401) throw problem;
    if ((around || recall("visitor")) && !renewed) {
      if (around) tell("refused");
      drop("visitor"); // it may have expired by the service's clock, or its secret was changed
      minting = null;
      renewed = true;
      continue;
    }
    if (around) throw problem; // visitors of a website have no key
    const isWrong = Boolean(recall("key"));
    drop("key");
    const key = await askForKey(isWrong);
    if (!key) throw problem;
    remember("key", key);
  }
}

async function send(path, options) {
  try {
    return await fetch(path, { cache: "no-store", referrerPolicy: "no-referrer", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("offline");
  }
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const requestId = response.headers.get("X-Request-ID") ?? "";
  let type = "about:blank";
  try {
    type = (await response.json()).type;
  } catch {
    // A proxy's own page.
  }
  return new Problem(type, { status: response.status, retryAfter, requestId });
}
