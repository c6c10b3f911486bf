// The chat page in a frame on a website's page: nothing here needs cookies or storage, which browsers refuse there.
//
//   around            what the page around has told at the beginning: {lang?, theme, kept}; null outside a frame
//   fromParent()      resolves to the same as it is now, and with `token`, if there is one
//   tell(kind, value) tells it: "keep" {name, value} to keep (null: to forget), "unread" how many messages have come,
//                     "refused" that the service has refused the token, and "close".
//
// Only a page whose origin the service names gets an answer, or is believed.

const PATIENCE = 20_000; // ms in which the page around must get a token from its own server
const COLOUR = /^(#[0-9a-f]{3,8}|[a-z]{3,30}|(rgb|hsl|hwb|lab|lch|oklab|oklch)a?\([\d\s.,%/a-z+-]{1,80}\))$/i;
const LENGTH = /^\d{1,3}(\.\d{1,3})?(px|rem|em)$/;
const FONTS = /^[\p{L}\p{N}\s,"'_-]{1,200}$/u;
const isColour = (value) => COLOUR.test(value) && CSS.supports("color", value);
const THEME = {
  accent: isColour,
  "on-accent": isColour,
  background: isColour,
  surface: isColour,
  text: isColour,
  radius: (value) => LENGTH.test(value),
  font: (value) => FONTS.test(value) && CSS.supports("font-family", value),
};
const LANGUAGE = /^[a-z]{2,3}(-[a-z0-9]{2,8})*$/i;

const isFramed = window.parent !== window && new URLSearchParams(location.search).has("embed");
const waiting = new Map();
let asked = 0;
let parentOrigin = null; // a promise

export async function fromParent({ token = true } = {}) {
  const origin = await (parentOrigin ??= findParent());
  const id = ++asked;
  const answer = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the page around this frame does not answer")), PATIENCE);
    waiting.set(id, (value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
  window.parent.postMessage({ support: "ask", id, token }, origin);
  return sound(await answer.finally(() => waiting.delete(id)));
}

export async function tell(kind, value) {
  window.parent.postMessage({ support: "tell", kind, value }, await (parentOrigin ??= findParent()));
}

async function findParent() {
  const response = await fetch(new URL("../embed.json", import.meta.url), { credentials: "omit" });
  const { origins } = await response.json();
  const origin = location.ancestorOrigins?.[0] ?? (document.referrer && new URL(document.referrer).origin);
  if (!origins.includes(origin)) throw new Error(`pages of ${origin} may not show this one`);
  window.addEventListener("message", (event) => {
    if (event.origin !== origin || event.source !== window.parent || event.data?.support !== "answer") return;
    waiting.get(event.data.id)?.(event.data);
  });
  window.addEventListener("keydown", (event) => {
    // A dialog of this page closes first.
    if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]")) tell("close");
  });
  return origin;
}

/** Return only what may be believed: a page that may show this one is no reason to take what is not of the right form. */
function sound({ token, lang, theme, kept }) {
  const worn = Object.entries(THEME).filter(([name, fits]) => typeof theme?.[name] === "string" && fits(theme[name]));
  return {
    token: typeof token === "string" && token ? token : undefined,
    lang: typeof lang === "string" && LANGUAGE.test(lang) ? lang : undefined,
    theme: Object.fromEntries(worn.map(([name]) => [name, theme[name]])),
    kept: kept && typeof kept === "object" ? kept : {},
  };
}

function wear(theme) {
  for (const [name, value] of Object.entries(theme)) document.documentElement.style.setProperty(`--${name}`, value);
}

export const around = isFramed ? await fromParent({ token: false }) : null;
if (around) wear(around.theme);
