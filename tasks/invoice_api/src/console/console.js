// The console's frame: signing in, and which page the address names.

import { Refused, signIn, signOut, token } from "./api.js";
import { element, note } from "./dom.js";
import * as business from "./business.js";
import * as invoice from "./invoice.js";
import * as live from "./live.js";
import * as pipeline from "./pipeline.js";

const PAGES = { invoice, live, business, pipeline };
const main = document.getElementById("main");
const leave = document.getElementById("leave");
let leaving = new AbortController();

/** Address: #/page/argument. #token=… signs in and is taken out of the address at once. */
async function show() {
  const given = /^#token=([\w-]+)(.*)$/.exec(location.hash);
  if (given) {
    signIn(given[1]);
    history.replaceState(null, "", "#/invoice");
  }
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [, name = "invoice", argument = ""] = /^#\/(\w*)\/?(.*)$/.exec(location.hash) ?? [];
  const page = PAGES[name] ?? invoice;
  for (const link of document.querySelectorAll("nav a")) {
    if (PAGES[link.dataset.page] === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  leave.hidden = !token();
  if (!token()) {
    askForToken();
    return;
  }
  const heading = element("h1", {}, page.title);
  const content = element("div");
  main.replaceChildren(heading, content);
  document.title = `${page.title} · Invoices`;
  try {
    await page.show(content, decodeURIComponent(argument), signal);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && error.status === 401) {
      signOut();
      leave.hidden = true;
      askForToken("This token is not valid any more.");
      return;
    }
    content.append(note(error instanceof Refused ? error.message : "This page has a fault; reload it.", "bad"));
    if (!(error instanceof Refused)) console.error(error);
  }
}

function askForToken(reason) {
  document.title = "Sign in · Invoices";
  const input = element("input", { id: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const submit = (event) => {
    event.preventDefault();
    signIn(input.value.trim());
    show();
  };
  main.replaceChildren(
    element("h1", {}, "Sign in"),
    element("p", { class: "lead" }, "The console reads the same API as every program, so it needs a token. It stays in this tab."),
    ...(reason ? [note(reason, "bad")] : []),
    element("form", { class: "row", onsubmit: submit },
      element("label", {}, "Token", input), element("button", { type: "submit" }, "Sign in")),
  );
  input.focus();
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
leave.addEventListener("click", () => {
  signOut();
  show();
});
window.addEventListener("hashchange", show);
show();
