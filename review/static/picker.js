"use strict";
// The class picker: another class by its name.

function pick() {
  if (!targets().length) return;
  byId("wanted").value = "";
  byId("wanted").hidden = facts.class_names.length <= 10;
  listClasses();
  byId("picker").showModal();
  (byId("wanted").hidden ? byId("picker") : byId("wanted")).focus();
}

function listClasses() {
  const typed = byId("wanted").value.trim().toLowerCase();
  const starts = (name) => name.toLowerCase().startsWith(typed);
  const found = facts.class_names.filter((name) => name.toLowerCase().includes(typed));
  const sorted = [...found.filter(starts), ...found.filter((name) => !starts(name))].slice(0, 200);
  byId("classes").replaceChildren(...sorted.map((name, place) => {
    const digit = facts.class_names.length <= 10 ? [element("kbd", "", String(facts.class_names.indexOf(name))), " "] : [];
    const button = element("button", place === 0 && digit.length === 0 ? "first" : "", ...digit, name);
    button.type = "button";
    button.addEventListener("click", () => choose(name));
    return element("li", "", button);
  }));
}

function choose(name) {
  byId("picker").close();
  decide("choose", name);
}

byId("wanted").addEventListener("input", listClasses);
byId("picker").addEventListener("keydown", (event) => {
  const buttons = [...byId("classes").querySelectorAll("button")];
  if (byId("wanted").hidden && /^[0-9]$/.test(event.key)) {
    const name = facts.class_names[Number(event.key)];
    if (name !== undefined) choose(name);
  } else if (event.key === "Enter" && event.target === byId("wanted")) {
    event.preventDefault();
    buttons[0]?.click();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const step = event.key === "ArrowDown" ? 1 : -1;
    const to = buttons.indexOf(document.activeElement) + step;
    (buttons[to] ?? byId("wanted")).focus();
  } else return;
  event.preventDefault();
  event.stopPropagation();
});
byId("picker").addEventListener("close", () => rows[current]?.item.focus({ preventScroll: true }));
