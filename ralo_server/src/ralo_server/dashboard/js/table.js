/* A table out of rows: a header that stays, numbers at the right, scrolled within itself. */

import { empty, h } from "./dom.js";

/** A column is { title, cell: row => text or node, number?: true, hint? }; the first cell of a row
 * is its header. `caption` is read by screen readers and, unless `quiet`, shown. */
export function table({
  caption,
  columns,
  rows,
  none = "Nothing here yet.",
  rowClass = () => null,
}) {
  if (!rows.length) return empty(none);
  const head = columns.map(({ title, hint, number }) =>
    h("th", { scope: "col", title: hint, class: number && "number" }, title),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, ...head)),
      h(
        "tbody",
        {},
        ...rows.map((row) =>
          h(
            "tr",
            { class: rowClass(row) },
            ...columns.map((column, index) => cell(column, row, index)),
          ),
        ),
      ),
    ),
  );
}

/** Names and values under each other; pairs whose value is undefined are left out. */
export function pairs(entries) {
  const known = entries.filter(([, value]) => value !== undefined);
  return h(
    "dl",
    { class: "pairs" },
    ...known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

function cell({ cell: content, number }, row, index) {
  const tag = index ? "td" : "th";
  const value = content(row);
  return h(
    tag,
    { class: number && "number", scope: index ? null : "row" },
    value instanceof Node ? value : String(value),
  );
}
