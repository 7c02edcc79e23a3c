/* The controls over a set of charts: x-axis, smoothing, zoom, and the picker of further metrics. */

import { h } from "../dom.js";
import { kept } from "../kept.js";
import { AXES } from "../metrics.js";

/** What the charts of all views are drawn over, "step" or "time", and how smooth their lines are. */
export const axisChoice = kept("axis", "step");
export const smoothing = kept("smoothing", 0.6);

/** Return the toolbar over `charts` (key -> { chart }) of `group`, with `more` at its end; `draw`
 * draws them anew, `smoothen` after the weight has changed. */
export function chartToolbar({ charts, group, picker, draw, smoothen = draw, more = [] }) {
  const axes = segmented(
    "x-axis",
    [
      ["step", "Steps"],
      ["time", "Time"],
    ],
    axisChoice.get(),
    (axis) => {
      axisChoice.set(axis);
      group.reset();
      for (const { chart } of charts.values()) chart.axis = AXES[axis];
      draw();
    },
  );
  const slider = smoothingSlider(smoothing.get(), (weight) => {
    smoothing.set(weight);
    smoothen();
  });
  return h("div", { class: "toolbar" }, axes, slider, picker.element, zoomReset(group), ...more);
}

/** Return a pair of buttons of which one is pressed; `choices` is [[value, text], ...]. */
export function segmented(name, choices, chosen, onChoose) {
  const buttons = choices.map(([value, text]) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(value === chosen),
        on: { click: () => choose(value) },
      },
      text,
    ),
  );
  const choose = (value) => {
    buttons.forEach((button, index) =>
      button.setAttribute("aria-pressed", String(choices[index][0] === value)),
    );
    onChoose(value);
  };
  return h("div", { class: "segmented", role: "group", "aria-label": name }, ...buttons);
}

/** Return a slider of the smoothing weight, 0 to 0.99. */
function smoothingSlider(weight, onChange) {
  const output = h("output", {}, weight.toFixed(2));
  const slider = h("input", {
    type: "range",
    min: "0",
    max: "0.99",
    step: "0.01",
    value: weight,
    "aria-label": "Smoothing",
  });
  slider.addEventListener("input", () => {
    output.textContent = Number(slider.value).toFixed(2);
    onChange(Number(slider.value));
  });
  return h(
    "label",
    { class: "slider", title: "Weight of the past in an exponential moving average" },
    "Smoothing",
    slider,
    output,
  );
}

/** Return the button that ends the zoom of `group`, seen only while there is one. */
function zoomReset(group) {
  const button = h(
    "button",
    { type: "button", class: "quiet", hidden: true, on: { click: () => group.reset() } },
    "Show all",
  );
  group.addEventListener("zoom", () => (button.hidden = !group.range));
  return button;
}

/** Return a field that offers `names` as one types, and adds the one that is entered. */
export function metricPicker(onPick) {
  const list = h("datalist", { id: "metric-names" });
  const field = h("input", {
    type: "text",
    list: "metric-names",
    placeholder: "Add a metric …",
    "aria-label": "Add a metric by its name",
    autocomplete: "off",
    spellcheck: "false",
  });
  const offer = (names) =>
    list.replaceChildren(...names.map((name) => h("option", { value: name })));
  const pick = () => {
    const name = field.value.trim();
    if (![...list.children].some((option) => option.value === name)) return;
    field.value = "";
    onPick(name);
  };
  field.addEventListener("change", pick);
  field.addEventListener("input", (event) => event.inputType !== "insertText" && pick());
  return { element: h("span", { class: "picker" }, field, list), offer };
}
