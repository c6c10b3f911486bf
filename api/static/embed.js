// <script src="https://support.example/embed.js" data-token-url="/support-token" data-title="Help" async></script>
// puts a button on the page that opens the chat page of that service in a frame. Nothing is loaded before.
//
// Attributes: data-token-url  where this website's own server gives out a visitor's token: POST, JSON {"token"}
//             data-title      the name of the chat; "Support" by default
//             data-lang       its language; that of the page by default
// CSS variables of the page, all optional: --support-accent, -on-accent, -background, -surface, -text, -radius, -font.
// window.SupportAgent: open(), close(), and forget(), for when a customer signs out.
(() => {
  if (window.SupportAgent || !document.currentScript) return;
  const { src, dataset } = document.currentScript;
  const page = new URL("./?embed=1", src);
  const tokenUrl = dataset.tokenUrl ? new URL(dataset.tokenUrl, location.href).href : "";
  const lang = dataset.lang || document.documentElement.lang || navigator.language;
  const title = dataset.title || "Support";

  const TEXTS = {
    en: ["Open chat", "Close chat", (count) => `${count} new`],
    de: ["Chat öffnen", "Chat schließen", (count) => `${count} neu`],
    es: ["Abrir el chat", "Cerrar el chat", (count) => `${count} sin leer`],
    fr: ["Ouvrir le chat", "Fermer le chat", (count) => `${count} non lus`],
  };
  const [openText, closeText, unreadText] = TEXTS[lang.slice(0, 2).toLowerCase()] ?? TEXTS.en;
  const THEME = ["accent", "on-accent", "background", "surface", "text", "radius", "font"];
  const KEY = `support-agent:${page.origin}${page.pathname}`;
  const MOST = 200_000; // characters that the frame may keep
  const EARLY = 60; // seconds before its end that a token is renewed
  const STYLE = `
    :host { all: initial; }
    button { font: 600 16px/1 system-ui, sans-serif; cursor: pointer; border: 0; }
    .bubble { position: fixed; inset-block-end: max(20px, env(safe-area-inset-bottom)); inset-inline-end: 20px;
      inline-size: 60px; block-size: 60px; border-radius: 50%; z-index: 2147483000; display: grid; place-items: center;
      background: var(--support-accent, #0d6b60); color: var(--support-on-accent, #fff);
      box-shadow: 0 4px 16px rgb(0 0 0 / 25%); }
    .bubble svg { inline-size: 28px; block-size: 28px; fill: none; stroke: currentColor; stroke-width: 2; }
    .count { position: absolute; inset-block-start: -4px; inset-inline-end: -4px; min-inline-size: 22px; line-height: 22px;
      border-radius: 11px; background: #a3271f; color: #fff; font-size: 12px; text-align: center; }
    .count:empty { display: none; }
    :focus-visible { outline: 3px solid var(--support-accent, #0d6b60); outline-offset: 3px; }
    dialog { position: fixed; margin: 0; padding: 0; border: 0; overflow: hidden; box-sizing: border-box;
      inset: auto 20px 20px auto; inline-size: min(400px, calc(100vw - 40px)); block-size: min(680px, calc(100vh - 40px));
      max-inline-size: none; max-block-size: none; border-radius: var(--support-radius, 16px);
      background: var(--support-surface, Canvas); color: var(--support-text, CanvasText);
      box-shadow: 0 8px 40px rgb(0 0 0 / 30%); }
    :host([dir="rtl"]) dialog { inset: auto auto 20px 20px; }
    dialog[open] { display: flex; flex-direction: column; }
    dialog::backdrop { background: transparent; }
    header { display: flex; align-items: center; justify-content: space-between; gap: 8px; padding-inline: 16px 4px;
      background: var(--support-accent, #0d6b60); color: var(--support-on-accent, #fff); flex: none; }
    h2 { font: 600 16px/1.3 var(--support-font, system-ui, sans-serif); margin: 0; }
    .close { background: none; color: inherit; inline-size: 44px; block-size: 44px; font-size: 22px; border-radius: 8px; }
    .close:focus-visible { outline-color: currentColor; outline-offset: -6px; }
    iframe { border: 0; flex: 1; inline-size: 100%; min-block-size: 0; color-scheme: normal; }
    @media (max-width: 500px) {
      dialog, :host([dir="rtl"]) dialog { inset: 0 auto auto 0; inline-size: 100vw; block-size: 100dvh; border-radius: 0; }
    }`;

  // What is kept stays in this tab, so that the next person at a shared computer finds nothing.
  let memory = {};

  function kept() {
    try {
      return JSON.parse(sessionStorage.getItem(KEY)) ?? memory;
    } catch {
      return memory;
    }
  }

  function keep(changed) {
    memory = { ...kept(), ...changed };
    try {
      sessionStorage.setItem(KEY, JSON.stringify(memory));
    } catch {
      // It stays in memory.
    }
  }

  function forget() {
    memory = {};
    try {
      sessionStorage.removeItem(KEY);
    } catch {
      // It was in memory alone.
    }
    close();
    frame?.remove();
    frame = null;
  }

  function claims(token) {
    try {
      return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    } catch {
      return {};
    }
  }

  let fetching = null;

  /** Return a token that is valid for a while; undefined where there is none. */
  async function freshToken() {
    const { token } = kept();
    if (!tokenUrl || (token && claims(token).exp - EARLY > Date.now() / 1000)) return tokenUrl ? token : undefined;
    fetching ??= fetchToken().finally(() => { fetching = null; });
    return fetching;
  }

  async function fetchToken() {
    try {
      const response = await fetch(tokenUrl, { method: "POST", credentials: "include", cache: "no-store" });
      const { token } = await response.json();
      if (!response.ok || typeof token !== "string") throw new Error(`HTTP ${response.status}`);
      const before = kept().token;
      // Another visitor may not see what the one before said.
      keep(before && claims(before).sub !== claims(token).sub ? { token, frame: {} } : { token });
      return token;
    } catch (error) {
      console.error(`SupportAgent: no token from ${tokenUrl}: ${error.message}`);
      return undefined;
    }
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const told = THEME.map((name) => [name, style.getPropertyValue(`--support-${name}`).trim()]);
    return Object.fromEntries(told.filter(([, value]) => value));
  }

  async function onMessage({ origin, source, data }) {
    if (!frame || origin !== page.origin || source !== frame.contentWindow) return;
    if (data?.support === "ask") {
      const token = data.token ? await freshToken() : undefined;
      const answer = { support: "answer", id: data.id, token, lang, theme: theme(), kept: kept().frame ?? {} };
      frame?.contentWindow?.postMessage(answer, page.origin);
    } else if (data?.support === "tell") {
      listen(data.kind, data.value);
    }
  }

  function listen(kind, value) {
    if (kind === "keep") {
      const frameKeeps = { ...kept().frame, [value.name]: value.value };
      if (value.value === null) delete frameKeeps[value.name];
      if (JSON.stringify(frameKeeps).length <= MOST) keep({ frame: frameKeeps });
    } else if (kind === "refused") {
      keep({ token: undefined });
    } else if (kind === "unread") {
      show(dialog.open ? 0 : unread + (Number(value) || 0));
    } else if (kind === "close") {
      close();
    }
  }

  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function drawing(path) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS(svg.namespaceURI, "path"));
    svg.firstChild.setAttribute("d", path);
    return svg;
  }

  const count = make("span", { class: "count", "aria-hidden": "true" });
  const bubble = make("button", { type: "button", class: "bubble", "aria-haspopup": "dialog" },
    drawing("M4 5.5h16v11h-9l-4.5 3.5v-3.5H4z"), count);
  const closing = make("button", { type: "button", class: "close", "aria-label": closeText }, "×");
  const header = make("header", {}, make("h2", { id: "title" }, title), closing);
  const dialog = make("dialog", { "aria-labelledby": "title" }, header);
  let frame = null;
  let unread = 0;

  function makeFrame() {
    return make("iframe", {
      // It is on an origin of its own, so scripts there can't reach this page, nor take the sandbox away. With
      // an opaque origin its requests would be those of any page.
      sandbox: "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox",
      allow: "clipboard-write",
      referrerpolicy: "origin",
      title,
      src: page.href,
    });
  }

  function show(number) {
    unread = number;
    count.textContent = unread ? String(unread) : "";
    bubble.setAttribute("aria-label", [openText, title, count.textContent && unreadText(unread)].filter(Boolean).join(", "));
  }

  /** On a phone the dialog fills what the keyboard leaves. */
  function fit() {
    const { height, offsetTop } = window.visualViewport ?? {};
    const isPhone = window.matchMedia("(max-width: 500px)").matches;
    dialog.style.blockSize = isPhone && height ? `${height}px` : "";
    dialog.style.insetBlockStart = isPhone && offsetTop ? `${offsetTop}px` : "";
  }

  function open() {
    if (!host.isConnected) place();
    if (!frame) dialog.append((frame = makeFrame()));
    if (!dialog.open) dialog.showModal(); // the browser keeps the focus inside, and returns it
    bubble.setAttribute("aria-expanded", "true");
    show(0);
    fit();
    frame.focus();
  }

  function close() {
    if (dialog.open) dialog.close();
  }

  const host = document.createElement("support-agent");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet(); // of a script: needs no 'unsafe-inline' of the page
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  root.append(bubble, dialog);

  function place() {
    host.lang = lang;
    host.dir = getComputedStyle(document.documentElement).direction;
    document.body.append(host);
  }

  bubble.addEventListener("click", open);
  closing.addEventListener("click", close);
  dialog.addEventListener("click", (event) => event.target === dialog && close()); // beside it
  dialog.addEventListener("close", () => bubble.setAttribute("aria-expanded", "false"));
  window.addEventListener("message", onMessage);
  window.visualViewport?.addEventListener("resize", fit);
  window.visualViewport?.addEventListener("scroll", fit);
  bubble.setAttribute("aria-expanded", "false");
  show(0);
  if (document.body) place();
  else document.addEventListener("DOMContentLoaded", place);

  window.SupportAgent = { open, close, forget };
})();
