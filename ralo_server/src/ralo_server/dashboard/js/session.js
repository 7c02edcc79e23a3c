/* The token of this tab: kept in sessionStorage, so that it ends with the tab.
 * Neighbours: `api.js` shows it to the server, `views/login.js` asks for it. */

const NAME = "ralo.token";
const listeners = new Set();
let inMemory = "";

/** Return the token, "" where there is none. */
export function token() {
  try {
    return sessionStorage.getItem(NAME) ?? inMemory;
  } catch {
    return inMemory;
  }
}

/** Keep a token; "" forgets it. */
export function setToken(value) {
  inMemory = value;
  try {
    if (value) sessionStorage.setItem(NAME, value);
    else sessionStorage.removeItem(NAME);
  } catch {
    // Where storage is refused the token lasts as long as the page.
  }
}

/** Call `listener` with the server's reason when it wants a (better) token. */
export function onLoginNeeded(listener) {
  listeners.add(listener);
}

/** Tell that the server refused for want of a token. */
export function needLogin(reason) {
  for (const listener of listeners) listener(reason);
}
