// A conversation over POST /chat/stream with fetch, in Node 20 or later. Each line of the input is a message.
//
//   AGENT_KEY=sa_… node docs/clients/chat_fetch.mjs http://localhost:8000
//
// Everything above `main` works in a browser, too. There the key is a visitor's token: a page can't keep a key.

const PATIENCE = 60_000; // ms without an event after which a message is given up
const SILENCE = 40_000; // ms without a byte after which a connection is lost: a comment comes every 15 s

/** There is no answer; the message says why. */
class NoAnswer extends Error {}

/** There is none yet; try again in so many ms. */
class Later extends Error {
  constructor(ms) {
    super("The service can't be reached, or has no time.");
    this.ms = ms;
  }
}

/** A conversation, whose answers survive lost connections and spent rate limits. */
export class Conversation {
  constructor(url, key) {
    this.url = url;
    this.headers = key ? { Authorization: `Bearer ${key}` } : {};
    this.session = undefined;
  }

  /** Yield the answer's tokens as they come; throws NoAnswer. */
  async *ask(message) {
    const turn = { message, key: crypto.randomUUID(), run: "", last: "" };
    let wait = 250;
    let deadline = Date.now() + PATIENCE;
    for (;;) {
      try {
        for await (const { id, event, data } of this.events(turn)) {
          [wait, deadline] = [250, Date.now() + PATIENCE];
          turn.last = id || turn.last;
          if (event === "run") [turn.run, this.session] = [data.run_id, data.session_id];
          if (event === "token") yield data.text;
          if (event === "done") return;
          if (event === "error" && id) throw new NoAnswer(data.detail); // without an id it is this stream's alone
        }
        // A stream that ended with neither `done` nor an error of the run was cut: read on where it was.
      } catch (error) {
        if (!(error instanceof Later)) throw error;
        wait = error.ms ?? wait;
      }
      if (Date.now() + wait > deadline) throw new NoAnswer("The service can't be reached, or has no time.");
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, 5_000);
    }
  }

  /** Send the message, or read on in the run that has begun; throws NoAnswer or Later. */
  async *events({ message, key, run, last }) {
    const abort = new AbortController();
    let timer = setTimeout(() => abort.abort(), SILENCE);
    try {
      const response = run
        ? await this.request("GET", `/runs/${run}/stream`, { "Last-Event-ID": last }, undefined, abort)
        : // If the answer to this request is lost, the same key gets the same run.
          await this.request("POST", "/chat/stream", { "Idempotency-Key": key }, { message, session_id: this.session }, abort);
      await check(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), SILENCE);
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        yield* events.map(parse).filter(({ data }) => data !== undefined);
      }
    } catch (error) {
      if (error instanceof NoAnswer || error instanceof Later) throw error;
      throw new Later(); // fetch has failed, or the connection was cut
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
  }

  request(method, path, headers, body, { signal }) {
    const type = body ? { "Content-Type": "application/json" } : {};
    return fetch(this.url + path, {
      method,
      headers: { ...this.headers, ...type, ...headers },
      body: JSON.stringify(body),
      signal,
    });
  }
}

/** Throw NoAnswer or Later if there is no stream. */
async function check(response) {
  if (response.ok) return;
  const seconds = response.headers.get("Retry-After");
  if ([429, 502, 503, 504].includes(response.status) && seconds) throw new Later(seconds * 1000);
  const problem = await response.json().catch(() => ({ detail: `The service answered ${response.status}.` }));
  if (problem.type === "session-busy") throw new Later(1_000); // the previous message is still being answered
  throw new NoAnswer(problem.detail);
}

/** Read one server-sent event of this service: lines of "name: value", with JSON as data. A comment has none. */
function parse(event) {
  const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: ?(.*)/s)));
  return { id: fields.id, event: fields.event, data: fields.data && JSON.parse(fields.data) };
}

async function main() {
  const { createInterface } = await import("node:readline");
  const conversation = new Conversation(process.argv[2] ?? "http://localhost:8000", process.env.AGENT_KEY);
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      for await (const token of conversation.ask(line.trim())) process.stdout.write(token);
      process.stdout.write("\n");
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      console.error(error.message);
    }
  }
}

await main();
