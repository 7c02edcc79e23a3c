/* The controls over a set of charts: x-axis, smoothing, zoom, and the picker of further metrics. */

import { h } from "../dom.js";

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
export function smoothingSlider(weight, onChange) {
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
export function zoomReset(group) {
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
