// Streams a run with LangGraph's JavaScript SDK and prints its events, a line each; its argument says what to ask.
import { Client } from "@langchain/langgraph-sdk";

const { apiUrl, apiKey, question, streamMode } = JSON.parse(process.argv[2]);
const client = new Client({ apiUrl, apiKey });
const { thread_id } = await client.threads.create();
const events = client.runs.stream(thread_id, "agent", {
  input: { messages: [{ role: "user", content: question }] },
  streamMode,
  onDisconnect: "continue",
});
for await (const { event, data } of events) console.log(JSON.stringify([event, data]));
