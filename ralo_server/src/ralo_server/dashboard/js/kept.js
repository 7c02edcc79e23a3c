/* Small choices of the user that outlive the page: theme, smoothing, added charts. */

/** Return get and set of one value in localStorage under `ralo.NAME`. */
export function kept(name, fallback) {
  let value = read(name, fallback);
  return {
    get: () => value,
    set(next) {
      value = next;
      write(name, next);
    },
  };
}

function read(name, fallback) {
  try {
    const text = localStorage.getItem(`ralo.${name}`);
    if (text === null) return fallback;
    return typeof fallback === "string" ? text : JSON.parse(text);
  } catch {
    return fallback; // no storage, or a value that another version wrote
  }
}

function write(name, value) {
  try {
    localStorage.setItem(`ralo.${name}`, typeof value === "string" ? value : JSON.stringify(value));
  } catch {
    // The choice lasts as long as the page where storage is refused.
  }
}
