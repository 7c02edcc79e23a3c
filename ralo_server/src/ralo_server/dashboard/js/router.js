/* Which view is shown: the part of the address behind "#", such as #/rollouts/17?step=3.
 * Neighbours: `main.js` draws the view, links of views are plain anchors. */

/** Return { path: ["rollouts", "17"], query: { step: "3" } } of the address. */
export function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    path: path.split("/").filter(Boolean).map(decodeURIComponent),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** Return the address of a view, for a link. */
export function link(path, query = {}) {
  const known = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const text = new URLSearchParams(known).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Go to a view. */
export function go(path, query) {
  location.hash = link(path, query);
}

/** Call `listener` at every change of the address. */
export function onRoute(listener) {
  addEventListener("hashchange", listener);
}
