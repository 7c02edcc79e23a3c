/* What was asked for: every setting with where it came from, the plugins and their versions. */

import { NotThere, get } from "../api.js";
import { empty, fill, h } from "../dom.js";
import { pairs, table } from "../table.js";
import { section } from "./section.js";

/** Draw the view into `root`. */
export function mount(root) {
  fill(root, h("h1", { class: "unseen" }, "Run"), empty("Fetching the config …"));
  get("run/config").then(
    (document) => fill(root, h("h1", { class: "unseen" }, "Run"), ...parts(document)),
    (error) =>
      fill(
        root,
        empty(error instanceof NotThere ? "This server does not show its config." : error.message),
      ),
  );
}

function parts({ run, recipe, config, sources, plugins }) {
  const rows = settings(config, sources);
  const body = h("div");
  const show = (text, onlySet) =>
    fill(body, settingTable(rows.filter((row) => fits(row, text, onlySet))));
  show("", false);
  return [
    h(
      "div",
      { class: "halves" },
      section(
        "Run",
        "",
        pairs([
          ["Name", run],
          ["Recipe", recipe || "none"],
          [
            "Settings",
            `${rows.length}, of which ${rows.filter((row) => !isDefault(row)).length} are not defaults`,
          ],
        ]),
      ),
      section("Plugins", "what workers need to have installed", pluginTable(plugins)),
    ),
    section("Settings", "", body, filter(show)),
  ];
}

function filter(show) {
  const text = h("input", {
    type: "search",
    placeholder: "Find a setting",
    "aria-label": "Find a setting",
  });
  const only = h("input", { type: "checkbox" });
  const change = () => show(text.value.trim().toLowerCase(), only.checked);
  text.addEventListener("input", change);
  only.addEventListener("change", change);
  return h("span", { class: "filters" }, text, h("label", {}, only, " without defaults"));
}

/** Return [{ path, value, source }] of all settings, their tables walked through. */
function settings(config, sources, prefix = "") {
  return Object.entries(config).flatMap(([name, value]) => {
    const path = prefix + name;
    const isTable =
      value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length;
    return isTable
      ? settings(value, sources, `${path}.`)
      : [{ path, value, source: sources[path] ?? "default" }];
  });
}

function settingTable(rows) {
  return table({
    caption: "Settings",
    none: "No setting matches.",
    rows,
    columns: [
      { title: "Setting", cell: (row) => h("code", {}, row.path) },
      { title: "Value", cell: (row) => h("code", { class: "value" }, JSON.stringify(row.value)) },
      { title: "Source", cell: (row) => row.source },
    ],
    rowClass: (row) => (isDefault(row) ? "zero" : null),
  });
}

const SUMMARY = { title: "What it is", cell: (plugin) => plugin.summary ?? "" };

function pluginTable(plugins) {
  return table({
    caption: "Plugins",
    none: "No plugin is needed.",
    rows: plugins,
    columns: [
      { title: "Plugin", cell: (plugin) => plugin.name },
      { title: "Version", cell: (plugin) => plugin.version },
      ...(plugins.some((plugin) => plugin.summary) ? [SUMMARY] : []),
    ],
  });
}

function isDefault({ source }) {
  return source.startsWith("default");
}

function fits(row, text, onlySet) {
  return (
    (!onlySet || !isDefault(row)) &&
    `${row.path} ${JSON.stringify(row.value)} ${row.source}`.toLowerCase().includes(text)
  );
}
