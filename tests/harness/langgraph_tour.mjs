// Calls LangGraph's JavaScript SDK and prints what each call got, a line each.
import { Client } from "@langchain/langgraph-sdk";

const { apiUrl, apiKey } = JSON.parse(process.argv[2]);
const client = new Client({ apiUrl, apiKey });
const asked = (content) => ({ input: { messages: [{ role: "user", content }] } });

async function call(name, answer) {
  let got;
  try {
    got = await answer;
  } catch (error) {
    got = { failed: error.status ?? String(error), message: error.message };
  }
  console.log(JSON.stringify([name, got ?? null]));
  return got;
}

async function all(events) {
  const seen = [];
  for await (const { event, data } of events) seen.push([event, data]);
  return seen;
}

const [agent] = await call("assistants.search", client.assistants.search({ graphId: "agent" }));
await call("assistants.get", client.assistants.get(agent.assistant_id));
await call("assistants.getSchemas", client.assistants.getSchemas(agent.assistant_id));
await call("assistants.getGraph", client.assistants.getGraph(agent.assistant_id));
const { thread_id } = await call("threads.create", client.threads.create({ metadata: { colour: "blue" } }));
await call("threads.get", client.threads.get(thread_id));
await call("threads.update", client.threads.update(thread_id, { metadata: { colour: "red" } }));
await call("runs.stream", all(client.runs.stream(thread_id, "agent", { ...asked("Hello?"), streamMode: ["updates", "messages-tuple"] })));
await call("runs.wait", client.runs.wait(thread_id, "agent", asked("And then?")));
await call("runs.wait stateless", client.runs.wait(null, "agent", asked("Hello?")));
const { run_id } = await call("runs.create", client.runs.create(thread_id, "agent", asked("Is it SLOW?")));
await call("runs.get", client.runs.get(thread_id, run_id));
await call("runs.create rejected", client.runs.create(thread_id, "agent", { ...asked("Now!"), multitaskStrategy: "reject" }));
await call("runs.cancel", client.runs.cancel(thread_id, run_id, true));
await call("runs.join", client.runs.join(thread_id, run_id));
await call("runs.joinStream", all(client.runs.joinStream(thread_id, run_id)));
await call("runs.list", client.runs.list(thread_id));
await call("threads.getState", client.threads.getState(thread_id));
await call("threads.getHistory", client.threads.getHistory(thread_id));
await call("threads.search", client.threads.search({ metadata: { colour: "red" } }));
await call("runs.delete", client.runs.delete(thread_id, run_id));
await call("threads.delete", client.threads.delete(thread_id));
await call("threads.get of a deleted one", client.threads.get(thread_id));
