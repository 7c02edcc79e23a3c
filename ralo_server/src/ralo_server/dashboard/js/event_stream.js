/* The text of server-sent events, read from a fetched body: EventSource cannot send a token.
 * Neighbour: `live.js`. It knows nothing of what the events mean. */

/** Yield { event, data } of every event in `body`, and { event: "comment" } for the server's
 * signs of life. Throws when nothing at all comes for `silenceSeconds`. */
export async function* readEvents(body, silenceSeconds) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await within(silenceSeconds, reader.read());
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield parse(block);
    }
  } finally {
    reader.cancel().catch(() => {}); // the connection may be gone already
  }
}

function parse(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return data.length
    ? { event, data: data.join("\n") }
    : { event: event === "message" ? "comment" : event, data: "" };
}

function within(seconds, promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`nothing came for ${seconds} s`)),
      1000 * seconds,
    );
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
