/* A titled part of a view. */

import { h } from "../dom.js";

/** Return a section; `note` stands beside its title, `tools` at the right end of it. */
export function section(title, note, body, ...tools) {
  return h(
    "section",
    {},
    h("header", {}, h("h2", {}, title), note ? h("span", { class: "unit" }, note) : null, ...tools),
    body,
  );
}
