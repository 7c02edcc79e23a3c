/* Sets the chosen theme before anything is painted; a classic script, so that nothing flashes.
 * Neighbour: `theme.js` keeps the choice under the same name. */
"use strict";
try {
  const chosen = localStorage.getItem("ralo.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that refuses storage shows the system's theme.
}
