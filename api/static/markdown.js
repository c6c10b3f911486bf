// Markdown as elements that can do nothing: no script, no style, no image, nothing that is loaded from anywhere.

import { lexer, parser, use } from "./vendor/marked.esm.js";

const purify = window.DOMPurify; // a classic script, loaded before

const TAGS =
  "a abbr b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i ins kbd li mark ol p pre q s " +
  "samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var";
const ATTRIBUTES = "href title align colspan rowspan start reversed";
const HAS_WORDS = new Set("BLOCKQUOTE DD DT H1 H2 H3 H4 H5 H6 LI OL P TABLE TD TH UL".split(" "));
const RULES = {
  ALLOWED_TAGS: TAGS.split(" "),
  ALLOWED_ATTR: ATTRIBUTES.split(" "),
  ADD_URI_SAFE_ATTR: ATTRIBUTES.split(" ").filter((name) => name !== "href"),
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto|tel):/i,
  RETURN_DOM_FRAGMENT: true,
};
const DEFINITION = /^ {0,3}\[[^\]]+\]:/m;

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escaped(words) {
  return words.replace(/[&<>"]/g, (sign) => ESCAPES[sign]);
}

/** Tell whether a tag is none of HTML's, as in "press <Enter>": its reader wants to see it. */
function isWord(name) {
  return !name || !/^[a-z][a-z0-9]*$/i.test(name) || document.createElement(name) instanceof HTMLUnknownElement;
}

/**
 * Return a tag without what it is not needed for. DOMPurify would remove the rest, but where it reads HTML, the browser
 * already reports what the page's policy forbids.
 */
function bare(tag) {
  const [, end, name] = /^<(\/?)([^\s/>]*)/.exec(tag);
  if (tag.startsWith("<!")) return "";
  if (isWord(name)) return escaped(tag);
  if (!RULES.ALLOWED_TAGS.includes(name.toLowerCase())) return "";
  const kept = [...tag.matchAll(/\s(href|title|colspan|rowspan|start)\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)/gi)];
  const attributes = kept.map(([, key, value]) => ` ${key}="${value.replace(/^["']|["']$/g, "").replaceAll('"', "&quot;")}"`);
  return `<${end}${name}${attributes.join("")}>`;
}

use({
  gfm: true,
  renderer: {
    html: ({ text }) => text.replace(/<(script|style)\b[^]*?(?:<\/\1\s*>|$)/gi, "").replace(/<!--[^]*?(?:-->|$)|<[^>]*>?/g, bare),
    image: ({ text, title }) => escaped(text || title || ""),
  },
});

let base = null; // what relative links of the text in hand start from

purify.addHook("afterSanitizeAttributes", (node) => {
  if (HAS_WORDS.has(node.nodeName)) node.setAttribute("dir", "auto");
  if (node.nodeName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

purify.addHook("uponSanitizeAttribute", (node, data) => {
  if (node.nodeName !== "A" || data.attrName !== "href" || !base) return;
  try {
    data.attrValue = new URL(data.attrValue, base).href;
  } catch {
    data.keepAttr = false;
  }
});

function sanitised(html, address = null) {
  base = address;
  return purify.sanitize(html, RULES);
}

/** Return a text as a fragment; relative links lead from `address`, or nowhere. */
export function rendered(markdown, address = null) {
  return sanitised(parser(lexer(markdown)), address);
}

/**
 * A text that grows inside an element. Only the last block is made again as it grows, at most once a frame, and less
 * often where that takes the machine long, so that the page stays quick however long the text becomes.
 */
export class GrowingText {
  constructor(parent, onGrown) {
    this.text = "";
    this._parent = parent;
    this._onGrown = onGrown;
    this._begun = 0; // where the block that still grows begins
    this._settled = 0; // nodes that stay
    this._waiting = 0;
    this._next = 0;
  }

  add(piece) {
    this.text += piece;
    this._waiting ||= requestAnimationFrame((now) => this._onFrame(now));
  }

  clear() {
    this._stop();
    this.text = "";
    this._begun = this._settled = this._next = 0;
    this._parent.replaceChildren();
  }

  /** Show all of it at once. */
  finish() {
    this._stop();
    if (DEFINITION.test(this.text)) this._parent.replaceChildren(rendered(this.text)); // of links further up
    else this._render();
  }

  _stop() {
    cancelAnimationFrame(this._waiting);
    this._waiting = 0;
  }

  _onFrame(now) {
    this._waiting = 0;
    if (now < this._next) {
      this._waiting = requestAnimationFrame((later) => this._onFrame(later));
      return;
    }
    const began = performance.now();
    this._render();
    const ended = performance.now();
    this._next = ended + 3 * (ended - began);
    this._onGrown();
  }

  _render() {
    const blocks = lexer(this.text.slice(this._begun).replace(/\r\n?/g, "\n"));
    const last = blocks.findLastIndex((block) => block.type !== "space");
    while (this._parent.childNodes.length > this._settled) this._parent.lastChild.remove();
    if (last > 0 && !this.text.includes("\r")) {
      const settled = blocks.slice(0, last);
      this._parent.append(sanitised(parser(settled)));
      this._begun += settled.reduce((length, block) => length + block.raw.length, 0);
      this._settled = this._parent.childNodes.length;
    }
    this._parent.append(sanitised(parser(last > 0 && !this.text.includes("\r") ? blocks.slice(last) : blocks)));
  }
}
