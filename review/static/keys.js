"use strict";
// Keys and clicks, and the start of it all.

const DO = {
  keep: () => decide("keep"),
  accept: () => decide("accept"),
  choose: pick,
  drop: () => decide("drop"),
  unsure: () => decide("unsure"),
  undo,
  next: nextPage,
  previous: previousPage,
  help: () => byId("help").showModal(),
  one: () => {
    list.classList.toggle("one");
    showOne();
    rows[current]?.item.scrollIntoView({ block: "nearest" });
  },
};

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.target.closest("#filters") || event.altKey) return;
  // Caps Lock changes nothing; with Shift a letter is one all the same.
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key !== "a") return;
    selectRange(0, rows.length - 1);
  } else if (event.repeat && !key.startsWith("Arrow")) {
    // A key held down decides once; where it scrolls, it may.
    if (key === " ") event.preventDefault();
    return;
  } else if (/^[0-9]$/.test(key) && facts.class_names.length <= 10) {
    const name = facts.class_names[Number(key)];
    if (name === undefined) say(`There is no class ${key}; there are ${facts.class_names.length}, from 0 on.`, true);
    else decide("choose", name);
  } else if (key in DECISIONS) decide(DECISIONS[key]);
  else if (key === "c") pick();
  else if (key === "u") undo();
  else if (key === "x") withdraw();
  else if (key === "n") nextPage();
  else if (key === "p") previousPage();
  else if (key === "z") {
    list.classList.toggle("large");
    enlarge();
  }
  else if (key === "o") DO.one();
  else if (key === "/") filters.elements.search.focus();
  else if (key === "?") DO.help();
  else if (key === "Escape") for (const place of [...selected]) select(place, false);
  else if (key === " " && !event.target.closest("button") && rows.length) select(current, !selected.has(current));
  else if (key === "ArrowRight") move(current + 1, event.shiftKey);
  else if (key === "ArrowLeft") move(current - 1, event.shiftKey);
  else if (key === "ArrowDown" && rows.length) move(current + columns(), event.shiftKey);
  else if (key === "ArrowUp" && rows.length) move(current - columns(), event.shiftKey);
  else return;
  event.preventDefault();
  if (page) tell();
});

list.addEventListener("click", (event) => {
  const place = rows.findIndex(({ item }) => item === event.target.closest("li"));
  if (place < 0) return;
  if (event.shiftKey) {
    const from = anchor;
    move(place, true);
    anchor = from;
  } else {
    const toggles = event.ctrlKey || event.metaKey || event.target.type === "checkbox";
    move(place);
    if (toggles) select(place, !selected.has(place));
  }
  tell();
});
// A text is not marked by shift-clicks.
list.addEventListener("mousedown", (event) => { if (event.shiftKey) event.preventDefault(); });

byId("outlook").addEventListener("click", () => byId("stop").showModal());
document.querySelector("nav").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) DO[button.dataset.do]();
});

function filtered() {
  ahead = null;
  history.replaceState(null, "", `?${query()}`);
  show();
}
// What is wrong with the numbers in the filters, in words; nothing if they choose rows.
function fault() {
  for (const name of ["prob", "importance"]) {
    const [low, high] = ["low", "high"].map((end) => filters.elements[`${name}_${end}`]);
    const title = name === "prob" ? "probability" : name;
    for (const input of [low, high]) {
      const found = input.validity.badInput ? "no number" : input.value;
      if (!input.validity.valid) return `${title}: expected per cent from 0 to 100, found ${found}.`;
    }
    if (low.value !== "" && high.value !== "" && Number(low.value) > Number(high.value)) {
      return `${title}: the lowest, ${low.value} %, is above the highest, ${high.value} %.`;
    }
  }
  return "";
}

filters.addEventListener("change", (event) => {
  const found = fault();
  say(found || failure);
  if (found) return;
  event.target.blur(); // so that the next key decides, and is not typed into the filter
  filtered();
});
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", () => {
  document.activeElement.blur();
  setTimeout(filtered);
});
addEventListener("beforeunload", (event) => { if (waiting) event.preventDefault(); });

async function start() {
  for (const [name, value] of new URLSearchParams(location.search)) {
    const shown = name.startsWith("prob_") ? String(100 * Number(value)) : value;
    if (filters.elements[name]) filters.elements[name].value = shown;
  }
  try {
    facts = await ask("/api/facts");
  } catch (error) {
    return say(error.message);
  }
  for (const each of [list, byId("one")]) each.classList.toggle("small", facts.are_small);
  await show();
  setInterval(() => { if (!document.hidden) sync(); }, POLL_MS);
}
start();
