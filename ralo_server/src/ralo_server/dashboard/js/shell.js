/* What stands around every view: the run's name and state, the list of views, the connection.
 * Neighbours: `main.js` starts it; `index.html` has the elements. */

import { h } from "./dom.js";
import { moment } from "./format.js";
import { link } from "./router.js";
import { onTheme, theme, toggleTheme } from "./theme.js";

const byId = (id) => document.getElementById(id);

const CONNECTIONS = {
  connecting: "connecting",
  live: "live",
  away: "server away",
  paused: "paused",
  ended: "run over",
};

/** Fill the list of views; `views` is { key: title }. */
export function showViews(views) {
  const links = Object.entries(views).map(([key, title]) =>
    h("a", { href: link([key]), "data-view": key }, title),
  );
  byId("views").replaceChildren(...links);
}

/** Mark one view as the one that is shown. */
export function markView(key) {
  for (const anchor of byId("views").children) {
    if (anchor.dataset.view === key) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

/** Show whose run it is and how it stands. */
export function showRun({ run, recipe, state }) {
  byId("run-name").textContent = run;
  byId("run-recipe").textContent = recipe;
  const pill = byId("run-state");
  pill.hidden = false;
  pill.textContent = state;
  pill.dataset.state = state;
}

/** Show the state of the connection, and a banner where what is seen may be old. */
export function showConnection({ state, since, reason, retryAt }, onRetry) {
  const element = byId("connection");
  element.dataset.state = state;
  element.textContent = CONNECTIONS[state];
  const banner = byId("banner");
  banner.hidden = state !== "away";
  if (state !== "away") return;
  const wait = Math.max(1, Math.round((retryAt - Date.now()) / 1000));
  const text = `No connection since ${moment(since / 1000)}: what you see is from then. ${reason} Next try in about ${wait} s.`;
  banner.replaceChildren(
    h("span", {}, text),
    h("button", { type: "button", on: { click: onRetry } }, "Try now"),
  );
}

/** Make the buttons work that stand above every view. */
export function startTools(onLogout) {
  const button = byId("theme");
  const say = () => {
    const other = theme() === "dark" ? "light" : "dark";
    button.textContent = other === "dark" ? "☾" : "☀";
    button.setAttribute("aria-label", `Show the ${other} theme`);
    button.title = `Show the ${other} theme`;
  };
  button.addEventListener("click", toggleTheme);
  onTheme(say);
  say();
  byId("logout").addEventListener("click", onLogout);
}

/** Show the button for logging out where there is something to end. */
export function showLogout(shown) {
  byId("logout").hidden = !shown;
}
