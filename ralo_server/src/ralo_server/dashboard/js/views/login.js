/* Asks for a token where the server wants one.
 * Neighbours: `session.js` keeps it. Whether it is right, only the server knows. */

import { Away, LoginNeeded, get } from "../api.js";
import { h } from "../dom.js";
import { setToken } from "../session.js";

/** Show the form in `root`; `reason` is what the server said of the last token. */
export function mountLogin(root, reason, onDone) {
  const field = h("input", {
    type: "password",
    name: "token",
    required: true,
    autocomplete: "current-password",
    id: "token",
    "aria-describedby": "token-hint",
  });
  const message = h("p", { class: "problem", role: "alert" }, reason);
  const button = h("button", { type: "submit", class: "primary" }, "Log in");
  const form = h(
    "form",
    { class: "login" },
    h("h1", {}, "Log in"),
    h("label", { for: "token" }, "Token of a viewer or of the admin"),
    field,
    button,
    message,
    h(
      "p",
      { class: "hint", id: "token-hint" },
      "It was printed at the start and is in tokens.json of the run directory. It is kept until this tab is closed.",
    ),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    message.textContent = await tryToken(field.value.trim(), onDone);
  });
  root.replaceChildren(form);
  field.focus();
}

async function tryToken(token, onDone) {
  try {
    await get("stats", {}, { bearer: token, quiet: true });
  } catch (error) {
    if (error instanceof LoginNeeded) return `The server does not take it: ${error.message}`;
    if (error instanceof Away) return error.message;
    throw error;
  }
  setToken(token);
  onDone();
  return "";
}
