"use strict";
// Rows: the cards of the grid, and one row large beside it.

const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

function card(data) {
  const item = element("li");
  item.role = "option";
  item.dataset.id = data.example_id;
  const box = element("input");
  box.type = "checkbox";
  box.tabIndex = -1;
  box.ariaLabel = `select ${data.key}`;
  const name = element("span", "key", data.key);
  name.title = data.key;
  const split = data.split === null ? "" : `(${data.split})`;
  item.append(element("div", "head", name, element("span", "", split), box));
  if (data.picture) {
    const picture = element("img");
    picture.src = data.picture;
    picture.alt = data.key;
    item.append(picture);
  } else item.append(element("div", "text", data.text ?? ""));
  item.append(labels(data), topClasses(data), element("div", "state"));
  mark(item, data.state);
  return item;
}

// What the model says of a row; nothing while that is to be hidden, until the row is decided.
const told = (data) => data.state.told;

// A name that may break after each underscore, as its card may be narrow.
const breakable = (name) => name.split(/(?<=_)/).flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part]));

// The given label stands left and plain, the suggested one right and in colour.
function labels(data) {
  return element(
    "div", "labels",
    element("span", "given", element("small", "", "given "), element("b", "", ...breakable(data.given))),
    element("span", "suggested", element("small", "", "suggested "), element("b", "", ...breakable(data.suggested))),
  );
}

// The most probable classes and the given one; the bar is the background, as `meter` takes long to draw. Its room
// is kept while nothing is told.
function topClasses(data) {
  return element("div", "bars", ...(told(data)?.probs ?? []).map(({ label, prob }) => {
    const kind = label === data.given ? "given" : label === data.suggested ? "suggested" : "";
    const name = element("span", "", label);
    name.title = label;
    const line = element("div", kind, name, element("span", "", percent(prob)));
    line.style.setProperty("--share", `${100 * prob}%`);
    return line;
  }));
}

function bars(data) {
  return told(data) ? topClasses(data) : element("p", "soft", "What the model says of this row is shown after your decision.");
}

// One row, large, with all that is known of it, beside the grid of the page.
function showOne() {
  const on = list.classList.contains("one");
  byId("one").hidden = !on || !rows.length;
  if (byId("one").hidden) return;
  const { data } = rows[current];
  const known = (name, say_as) => (told(data)?.[name] ?? null) === null ? null : say_as(told(data)[name]);
  const lines = [
    ["name", data.key],
    ["row", `${count(page.start + current + 1)} of ${count(page.matching)}`],
    ["wrong with probability", known("error_prob", percent)],
    ["importance", known("importance", (value) => `${value.toFixed(0)}\u00a0%`)],
    ["split", data.split],
    ["flagged", known("is_issue", (value) => (value ? "yes" : "no"))],
  ].filter(([, value]) => value !== null);
  const view = data.picture ? element("img") : element("div", "text", data.text ?? "");
  if (data.picture) {
    view.src = data.picture;
    view.alt = data.key;
    if (facts.are_shrunk || data.has_original) whole(view, data);
  }
  const about = element("dl", "", ...lines.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
  const side = element("div", "side", labels(data), bars(data), about, element("div", "why"));
  byId("one").replaceChildren(element("div", "view", view), side);
  why(data, side.querySelector(".why"));
}

// Rows of the given and of the suggested class that nothing speaks against, the nearest to this one.
async function why(data, place) {
  let found;
  try {
    found = await ask(`/api/like/${data.example_id}`);
  } catch {
    return; // without embeddings there are none
  }
  if (rows[current]?.data !== data) return;
  for (const { label, rows: like } of found.classes) {
    if (!like.length) continue;
    const shown = like.map((each) => {
      const view = each.picture ? element("img") : element("div", "text", each.text ?? "");
      if (each.picture) {
        view.src = each.picture;
        view.alt = each.key;
      }
      view.title = each.key;
      return view;
    });
    place.append(element("h2", "", "nearest trusted rows of ", element("b", "", label)), element("div", "like", ...shown));
  }
}

function whole(picture, data) {
  const larger = new Image();
  larger.src = `/picture/${data.example_id}`;
  if (picture.src !== larger.src) larger.decode().then(() => { picture.src = larger.src; }, () => {});
}

function words(said) {
  return SAID[said.decision] + (said.label ? ` ${said.label}` : "");
}

function mark(item, state, pending = false) {
  const place = item.querySelector(".state");
  place.replaceChildren();
  if (state.decision) {
    const badge = element("span", `badge ${state.decision}${pending ? " waiting" : ""}`, ...breakable(words(state)));
    place.append(badge);
    if (state.reviewer !== facts.reviewer) place.append(element("span", "said", ` by ${state.reviewer}`));
    item.dataset.decision = state.decision;
  } else delete item.dataset.decision;
  item.dataset.saved = String(!pending);
  if (state.problem) place.append(element("div", "bad", `not applied: ${state.problem}`));
  for (const said of state.said.filter(({ reviewer }) => reviewer !== state.reviewer)) {
    place.append(element("div", "said", `${said.reviewer === facts.reviewer ? "you" : said.reviewer}: ${words(said)}`));
  }
  if (state.disagreed) place.append(element("div", "bad", "reviewers disagree"));
}

function move(place, extend = false) {
  if (!rows.length) return;
  const to = Math.max(0, Math.min(place, rows.length - 1));
  rows[current]?.item.classList.remove("current");
  if (extend) selectRange(anchor, to);
  else anchor = to;
  current = to;
  for (const { item } of rows) item.tabIndex = -1;
  const { item } = rows[current];
  item.tabIndex = 0;
  item.classList.add("current");
  // Who types into a filter goes on there: rows that come meanwhile take no key.
  if (!filters.contains(document.activeElement)) item.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
  enlarge();
  showOne();
}

// Of pictures that were shrunk for the page, the one with the frame is fetched whole.
function enlarge() {
  const { data, item } = rows[current] ?? {};
  if (!item || !data.picture || !list.classList.contains("large")) return;
  if (facts.are_shrunk || data.has_original) whole(item.querySelector("img"), data);
}

function select(place, on) {
  if (on) selected.add(place);
  else selected.delete(place);
  rows[place].item.ariaSelected = String(on);
  rows[place].item.querySelector("input").checked = on;
}

function selectRange(from, to) {
  for (const place of [...selected]) select(place, false);
  for (let place = Math.min(from, to); place <= Math.max(from, to); place++) select(place, true);
}

function columns() {
  const top = rows[0].item.offsetTop;
  const found = rows.findIndex(({ item }) => item.offsetTop > top);
  return found < 0 ? rows.length : found;
}
