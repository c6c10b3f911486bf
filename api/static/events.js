// Server-sent events, read with fetch: an EventSource can neither POST nor say who asks.

import { Problem } from "./service.js";

const SILENCE = 40_000; // ms; the service sends a comment every 15 s

/** Yield {id, event, data} of a response; throws a Problem if the connection is lost or silent. */
export async function* serverSentEvents(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let fields = { id: "", event: "message", data: [] };
  try {
    for (;;) {
      const { done, value } = await heard(reader);
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line) {
          read(line, fields);
        } else {
          if (fields.data.length) yield { ...fields, data: JSON.parse(fields.data.join("\n")) };
          fields = { id: "", event: "message", data: [] };
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function read(line, fields) {
  const at = line.indexOf(":");
  const name = at < 0 ? line : line.slice(0, at);
  const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
  if (name === "data") fields.data.push(value);
  else if (name === "id" || name === "event") fields[name] = value;
}

async function heard(reader) {
  let timer;
  const silence = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Problem("offline")), SILENCE);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } catch (error) {
    if (error instanceof Problem || error.name === "AbortError") throw error;
    throw new Problem("offline");
  } finally {
    clearTimeout(timer);
  }
}

/** Wait for some ms, or until the browser is online again; rejects when `signal` is aborted. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      window.removeEventListener("online", go);
      signal?.removeEventListener("abort", stop);
    };
    const go = () => (end(), resolve());
    const stop = () => (end(), reject(new DOMException("stopped", "AbortError")));
    const timer = setTimeout(go, ms);
    window.addEventListener("online", go);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop);
  });
}
