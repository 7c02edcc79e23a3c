/* GET from the orchestrator that served the page, and what can go wrong with it, as four errors.
 * Neighbours: views ask for JSON here, `events.js` for the stream. */

import { needLogin, token } from "./session.js";

/** The server could not be reached. */
export class Away extends Error {}

/** The server knows no such thing (404): an older version, or what was pruned. */
export class NotThere extends Error {}

/** The server wants a token, or another one (401, 403). */
export class LoginNeeded extends Error {}

/** The server refused for another reason, which is the message. */
export class Refused extends Error {}

/** Return the JSON at `path`; parameters that are undefined or "" are left out. */
export async function get(path, parameters = {}, options = {}) {
  return (await open(path, parameters, options)).json();
}

/** Return the response at `path` (relative to the page, so that a proxy's prefix is kept). */
export async function open(
  path,
  parameters = {},
  { signal, bearer = token(), quiet = false } = {},
) {
  const headers = bearer ? { Authorization: `Bearer ${bearer}` } : {};
  const response = await reach(address(path, parameters), { headers, signal, cache: "no-cache" });
  if (response.ok) return response;
  throw await refusal(response, quiet);
}

function address(path, parameters) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  url.hash = "";
  return url;
}

async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away("The server cannot be reached.");
  }
}

async function refusal(response, quiet) {
  const reason = await description(response);
  if (response.status === 404) return new NotThere(reason);
  if (response.status === 401 || response.status === 403) {
    if (!quiet) needLogin(token() ? reason : "");
    return new LoginNeeded(reason);
  }
  if ([502, 503, 504].includes(response.status))
    return new Away(`The server is not ready: ${reason}`);
  return new Refused(reason);
}

async function description(response) {
  try {
    const problem = await response.json();
    return [problem.title, problem.description ?? problem.detail].filter(Boolean).join(": ");
  } catch {
    return `status ${response.status}`;
  }
}
