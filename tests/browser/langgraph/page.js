// A page of `useStream`, the hook of LangGraph's JavaScript SDK, that asks for what Agent Chat UI asks for.
import { createElement as h, useCallback, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { Client } from "@langchain/langgraph-sdk";
import { useStream } from "@langchain/langgraph-sdk/react";

const query = new URLSearchParams(location.search);
const apiUrl = query.get("apiUrl");
const apiKey = query.get("apiKey") ?? undefined;
const assistantId = query.get("assistantId") ?? "agent";

function textOf(message) {
  const { content } = message;
  return typeof content === "string" ? content : content.map((block) => block.text ?? "").join("");
}

function useThreadId() {
  const [threadId, setThreadId] = useState(query.get("threadId"));
  const follow = useCallback((id) => {
    const url = new URL(location);
    url.searchParams.set("threadId", id);
    history.replaceState(null, "", url);
    setThreadId(id);
  }, []);
  return [threadId, follow];
}

function Page() {
  const [threadId, setThreadId] = useThreadId();
  const [threads, setThreads] = useState([]);
  const [status, setStatus] = useState("");
  const [written, write] = useState("");

  const list = useCallback(async () => {
    const client = new Client({ apiUrl, apiKey });
    setThreads(await client.threads.search({ metadata: { graph_id: assistantId }, limit: 100 }));
  }, []);

  const stream = useStream({
    apiUrl,
    apiKey,
    assistantId,
    threadId: threadId ?? null,
    fetchStateHistory: true,
    onThreadId: setThreadId,
    onFinish: list,
    reconnectOnMount: query.has("reconnect"),
  });

  useEffect(() => {
    const headers = apiKey ? { "X-Api-Key": apiKey } : {};
    fetch(`${apiUrl}/info`, { headers }).then((answer) => setStatus(answer.ok ? "connected" : "refused"));
    list();
  }, [list]);

  const submit = (event) => {
    event.preventDefault();
    const message = { id: crypto.randomUUID(), type: "human", content: [{ type: "text", text: written }] };
    write("");
    stream.submit(
      { messages: [message] },
      {
        streamMode: ["values"],
        streamSubgraphs: true,
        streamResumable: query.has("cancel") ? undefined : true,
        optimisticValues: (before) => ({ ...before, messages: [...(before.messages ?? []), message] }),
      },
    );
  };

  return h(
    "main",
    null,
    h("p", { id: "status" }, status),
    h(
      "ul",
      { id: "threads" },
      threads.map((thread) =>
        h(
          "li",
          { key: thread.thread_id },
          h("button", { onClick: () => setThreadId(thread.thread_id) }, textOf(thread.values?.messages?.[0] ?? { content: thread.thread_id })),
        ),
      ),
    ),
    h(
      "ol",
      { id: "messages" },
      stream.messages.map((message, index) => h("li", { key: message.id ?? index, "data-id": message.id, className: message.type }, textOf(message))),
    ),
    stream.error ? h("p", { id: "error" }, String(stream.error.message ?? stream.error)) : null,
    h(
      "form",
      { onSubmit: submit },
      h("input", { id: "message", value: written, onChange: (event) => write(event.target.value) }),
      stream.isLoading
        ? h("button", { id: "stop", type: "button", key: "stop", onClick: () => stream.stop() }, "Stop")
        : h("button", { id: "send", key: "send" }, "Send"),
    ),
  );
}

createRoot(document.getElementById("page")).render(h(Page));
