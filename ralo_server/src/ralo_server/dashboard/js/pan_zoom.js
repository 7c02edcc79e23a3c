/* Moves and enlarges what is in an SVG: drag, Ctrl and wheel, two fingers, or buttons.
 * A page is scrolled with the wheel alone, so the wheel alone does nothing here. */

const LEAST = 0.5;
const MOST = 12;

/** Let `camera`, a group in `svg`, be moved; return { zoom(factor), reset(), show(box) }. */
export function panZoom(svg, camera) {
  const state = { x: 0, y: 0, k: 1 };
  const pointers = new Map();
  const apply = () =>
    camera.setAttribute("transform", `translate(${state.x} ${state.y}) scale(${state.k})`);
  const zoomAt = (factor, at) => {
    const k = Math.min(MOST, Math.max(LEAST, state.k * factor));
    const change = k / state.k;
    Object.assign(state, {
      x: at.x - (at.x - state.x) * change,
      y: at.y - (at.y - state.y) * change,
      k,
    });
    apply();
  };
  const pan = (dx, dy) => {
    Object.assign(state, { x: state.x + dx, y: state.y + dy });
    apply();
  };
  svg.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY / 300), pointIn(svg, event));
    },
    { passive: false },
  );
  svg.addEventListener("pointerdown", (event) =>
    pointers.set(event.pointerId, pointIn(svg, event)),
  );
  svg.addEventListener(
    "pointermove",
    (event) => pointers.has(event.pointerId) && move(svg, event, pointers, pan, zoomAt),
  );
  for (const end of ["pointerup", "pointercancel", "pointerleave"])
    svg.addEventListener(end, (event) => pointers.delete(event.pointerId));
  return {
    zoom: (factor) => zoomAt(factor, middle(svg)),
    reset: () => {
      Object.assign(state, { x: 0, y: 0, k: 1 });
      apply();
    },
  };
}

function move(svg, event, pointers, pan, zoomAt) {
  const before = pointers.get(event.pointerId);
  const now = pointIn(svg, event);
  pointers.set(event.pointerId, now);
  if (pointers.size === 1) return pan(now.x - before.x, now.y - before.y);
  const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
  const far = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
  return zoomAt(far(now, other) / far(before, other), {
    x: (now.x + other.x) / 2,
    y: (now.y + other.y) / 2,
  });
}

function pointIn(svg, event) {
  const box = svg.getBoundingClientRect();
  const view = svg.viewBox.baseVal;
  const scale = Math.max(view.width / box.width, view.height / box.height);
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

function middle(svg) {
  const { width, height } = svg.viewBox.baseVal;
  return { x: width / 2, y: height / 2 };
}
