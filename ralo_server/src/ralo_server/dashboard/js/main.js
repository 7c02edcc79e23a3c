/* Starts the page: session, connection, and the view that the address names.
 * Neighbours: `shell.js` stands around the views, `views/` has them, `live.js` follows the run. */

import { fill, h } from "./dom.js";
import { Live } from "./live.js";
import { onRoute, route } from "./router.js";
import { onLoginNeeded, setToken, token } from "./session.js";
import * as shell from "./shell.js";
import * as compare from "./views/compare.js";
import * as evaluations from "./views/evaluations.js";
import * as learning from "./views/learning.js";
import { mountLogin } from "./views/login.js";
import * as rollouts from "./views/rollouts.js";
import * as run from "./views/run.js";
import * as system from "./views/system.js";

const VIEWS = {
  learning: { title: "Learning", view: learning },
  system: { title: "System", view: system },
  rollouts: { title: "Rollouts", view: rollouts },
  evaluations: { title: "Evaluations", view: evaluations },
  run: { title: "Run", view: run },
  compare: { title: "Compare", view: compare },
};

const main = document.getElementById("main");
const live = new Live();
let close = () => {};
let loggingIn = false;

function show() {
  if (loggingIn) return;
  close();
  const { path, query } = route();
  const key = shownView();
  const { title, view } = VIEWS[key];
  shell.markView(key);
  nameWindow(title);
  const root = h("div", { class: `view ${key}` });
  fill(main, root);
  close = view.mount(root, { live, path: path.slice(1), query }) ?? (() => {});
}

function shownView() {
  const [first] = route().path;
  return first in VIEWS ? first : "learning";
}

function nameWindow(title) {
  document.title = `${title} · ${live.stats?.run ?? "RALO"}`;
}

function begin() {
  loggingIn = false;
  shell.showLogout(Boolean(token()));
  live.start();
  show();
}

function logIn(reason) {
  if (loggingIn) return;
  loggingIn = true;
  close();
  close = () => {};
  live.stop();
  live.stats = null;
  setToken("");
  shell.showLogout(false);
  mountLogin(main, reason, begin);
}

onLoginNeeded(logIn);
onRoute(show);
shell.showViews(Object.fromEntries(Object.entries(VIEWS).map(([key, { title }]) => [key, title])));
shell.startTools(() => logIn(""));
live.addEventListener("stats", () => {
  shell.showRun(live.stats);
  nameWindow(VIEWS[shownView()].title);
});
live.addEventListener("connection", () =>
  shell.showConnection(live.connection, () => live.retryNow()),
);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("visibilitychange", () => {
  if (loggingIn) return;
  if (document.hidden) live.pause();
  else if (live.connection.state === "paused") live.start();
});
begin();
