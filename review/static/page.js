"use strict";
// One page of rows, one key a decision. What a person did shows at once; it counts when the server has it on
// its disk, and what failed is shown as it stands there. Text from data is never markup here.

const byId = (id) => document.getElementById(id);
const list = byId("rows");
const filters = byId("filters");
const POLL_MS = 2000;
const SAID = { keep: "keep", accept: "accept", choose: "choose", drop: "drop", unsure: "not sure" };
const DECISIONS = { k: "keep", a: "accept", d: "drop", s: "unsure" };

let facts = { class_names: [], reviewer: "", rows: 50 };
let page = null; // the server's answer that is shown
let rows = []; // {data, item} of the page
let current = 0;
let anchor = 0; // where a selection with shift began
const selected = new Set(); // places on the page
let waiting = 0; // requests not yet answered
let saving = Promise.resolve(); // decisions go one after the other
let ahead = null; // the next page, asked for before it is wanted
let failure = ""; // of the last decision; stays until the next
let turn = 0; // tells the answer to the latest question from earlier ones

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer; is `python -m review` still running?");
  }
  const answer = await response.json().catch(() => ({ error: `The server failed (${response.status}).` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function say(text, plain = false) {
  byId("message").textContent = text;
  byId("message").className = plain ? "plain" : "";
  byId("message").hidden = !text;
}

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// ---- filters and pages

function query(extra = {}) {
  const chosen = new URLSearchParams();
  for (const [name, value] of new FormData(filters)) {
    // People say per cent, the server shares of 1.
    if (value !== "") chosen.set(name, name.startsWith("prob_") ? String(Number(value) / 100) : value);
  }
  for (const [name, value] of Object.entries(extra)) chosen.set(name, value);
  return chosen.toString();
}

async function show(extra = {}) {
  const question = query({ count: facts.rows, ...extra });
  const mine = ++turn;
  busy(true);
  try {
    await saving; // what was just decided is not to come again
    let answer = await fetched(question) ?? await ask(`/api/rows?${question}`);
    if (!answer.rows.length && answer.matching && mine === turn) {
      // Others decided meanwhile: there are rows, on other pages alone.
      answer = await ask(`/api/rows?${query({ count: facts.rows })}`);
    }
    if (mine !== turn) return;
    draw(answer);
    if (page.start + rows.length < page.matching) prefetch();
  } catch (error) {
    if (mine === turn) say(error.message);
  } finally {
    if (mine === turn) busy(false);
  }
}

// The page that was asked for ahead, with what was decided since; nothing if it is not the one wanted now.
async function fetched(question) {
  if (ahead?.question !== question || ahead.signature !== page?.signature) return null;
  const answer = await ahead.answer;
  if (!answer.rows.length) return null;
  const now = await ask(`/api/states?${query({ ids: answer.rows.map((row) => row.example_id).join(",") })}`);
  if (now.signature !== answer.signature) return null;
  const { states, ...status } = now;
  return { ...answer, ...status, rows: answer.rows.map((row) => ({ ...row, state: states[row.example_id] })) };
}

// While other rows are on their way, no key decides on those that are about to go.
function busy(on) {
  list.ariaBusy = String(on);
}

function prefetch() {
  const question = query({ count: facts.rows, after: rows.at(-1).data.position });
  if (ahead?.question === question) return;
  ahead = { question, signature: page.signature, answer: ask(`/api/rows?${question}`) };
  ahead.answer.catch(() => { ahead = null; });
}

function draw(answer) {
  page = answer;
  say(answer.problem || failure);
  selected.clear();
  rows = answer.rows.map((data) => ({ data, item: card(data) }));
  list.replaceChildren(...rows.map(({ item }) => item));
  list.classList.toggle("wide", rows.some(({ data }) => !data.picture));
  byId("nothing").hidden = rows.length > 0;
  byId("nothing").textContent = answer.progress.rows && answer.progress.rows === answer.progress.decided
    ? "All of these are decided." : "Nothing to show with these filters.";
  move(0);
  tell();
  window.scrollTo(0, 0);
}

function tell() {
  const { rows: n, decided } = page.progress;
  const range = rows.length ? `${count(page.start + 1)}–${count(page.start + rows.length)} of ${count(page.matching)}; ` : "";
  const chosen = selected.size ? `; ${count(selected.size)} selected` : "";
  byId("counts").textContent = `${range}${count(decided)} of ${count(n)} decided${waiting ? ", saving…" : ""}${chosen}`;
  byId("waiting").textContent = page.waiting
    ? `${count(page.waiting)} ${page.waiting === 1 ? "decision waits" : "decisions wait"}; dvc repro applies them` : "";
  byId("progress").max = Math.max(n, 1);
  byId("progress").value = decided;
}

const count = (number) => number.toLocaleString("en");

function nextPage() {
  if (!rows.length) return show();
  if (page.start + rows.length < page.matching) return show({ after: rows.at(-1).data.position });
  // The end: those that were left out come again, under the filter that shows them.
  const left = () => page.progress.rows - page.progress.decided;
  const tellEnd = (text) => { if (rows.length && !failure && !page.problem) say(text, true); };
  if (filters.elements.decided.value === "no") {
    const before = page;
    return show().then(() => {
      if (page !== before) tellEnd(`That was the last page; ${count(left())} not decided yet, from the first of them on.`);
    });
  }
  return saving.then(() => sync(true)).then(() => {
    tellEnd(`This is the last page; ${count(left())} of all these rows not decided yet.`);
  });
}

function previousPage() {
  if (!rows.length) return show({ before: Number.MAX_SAFE_INTEGER });
  if (page.start > 0) return show({ before: rows[0].data.position });
}

// ---- rows

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
  item.append(labels(data), element("div", "state"));
  mark(item, data.state);
  return item;
}

// The given label stands left and plain, the suggested one right and in colour.
function labels(data) {
  return element(
    "div", "labels",
    element("span", "given", element("small", "", "given "), element("b", "", data.given)),
    element("span", "suggested", element("small", "", "suggested "), element("b", "", data.suggested), ` ${percent(data.suggested_prob)}`),
  );
}

function bars(data) {
  return element("div", "bars", ...data.probs.map(({ label, prob }) => {
    const bar = element("meter");
    bar.value = prob;
    const kind = label === data.given ? "given" : label === data.suggested ? "suggested" : "";
    return element("div", kind, element("span", "", label), bar, element("span", "", percent(prob)));
  }));
}

// One row, large, with all that is known of it, beside the grid of the page.
function showOne() {
  const on = list.classList.contains("one");
  byId("one").hidden = !on || !rows.length;
  if (byId("one").hidden) return;
  const { data } = rows[current];
  const facts_ = [
    ["name", data.key],
    ["row", `${count(page.start + current + 1)} of ${count(page.matching)}`],
    ["wrong with probability", data.error_prob === null ? null : percent(data.error_prob)],
    ["importance", data.importance === null ? null : `${data.importance.toFixed(0)}\u00a0%`],
    ["split", data.split],
    ["flagged", data.is_issue ? "yes" : "no"],
  ].filter(([, value]) => value !== null);
  const view = data.picture ? element("img") : element("div", "text", data.text ?? "");
  if (data.picture) {
    view.src = data.picture;
    view.alt = data.key;
    if (facts.are_shrunk || data.has_original) whole(view, data);
  }
  const told = element("dl", "", ...facts_.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
  const side = element("div", "side", labels(data), bars(data), told, element("div", "why"));
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
    const badge = element("span", `badge ${state.decision}${pending ? " waiting" : ""}`, words(state));
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
  item.focus({ preventScroll: true });
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

// ---- decisions

const mine = () => JSON.parse(sessionStorage.getItem("done") ?? "[]");
const remember = (done) => sessionStorage.setItem("done", JSON.stringify(done.slice(-1000)));
const targets = () => (list.ariaBusy === "true" ? [] : selected.size ? [...selected].sort((a, b) => a - b) : rows.length ? [current] : []);

function send(body, after) {
  waiting++;
  tell();
  return saving = saving.then(async () => {
    try {
      const answer = await ask("/api/decide", body);
      say(failure);
      page.waiting = answer.waiting;
      after(answer);
      for (const row of rows) if (answer.states[row.data.example_id]) update(row, answer.states[row.data.example_id]);
    } catch (error) {
      failure = error.message;
      say(failure);
      // As it was, unless the server says otherwise below.
      for (const row of rows) if (body.example_ids.includes(row.data.example_id)) mark(row.item, row.data.state);
    }
    waiting--;
    if (!waiting) sync(true); // not awaited: it may show other rows, which waits for what is being saved
    tell();
  });
}

function update(row, state) {
  row.data.state = state;
  mark(row.item, state);
}

function decide(decision, label = "") {
  const places = targets();
  if (!places.length) return;
  const ids = places.map((place) => rows[place].data.example_id);
  failure = "";
  for (const place of places) {
    const { data, item } = rows[place];
    const said = decision === "accept" ? data.suggested : label;
    mark(item, { ...data.state, decision, label: said, reviewer: facts.reviewer, problem: "" }, true);
  }
  send({ example_ids: ids, decision, label, signature: page.signature }, (answer) => {
    remember([...mine(), { ids, keys: ids.map((id) => answer.states[id].key), what: `${SAID[decision]}` }]);
  });
  for (const place of [...selected]) select(place, false);
  const next = places.at(-1) + 1;
  if (next < rows.length) move(next);
  else nextPage();
}

function takeBack(ids, keys, what, done) {
  const sent = send({ example_ids: ids, decision: "undo", signature: page.signature, keys }, () => {
    done();
    const of = rows.find(({ data }) => data.example_id === ids[0])?.data.key ?? ids[0];
    say(`Taken back: ${what} of ${ids.length === 1 ? of : `${ids.length} rows`}.`, true);
  });
  const place = rows.findIndex(({ data }) => data.example_id === ids[0]);
  if (place >= 0) move(place);
  return sent;
}

// What is still on its way to the server is done first, and one after the other: each takes back what the one
// before has left.
let taking = Promise.resolve();
const inTurn = (act) => { taking = taking.then(() => saving).then(act); };

const undo = () => inTurn(() => {
  const done = mine();
  const last = done.pop();
  if (!last) return say("There is nothing of yours to undo in this tab; x takes back the decision on a row.", true);
  return takeBack(last.ids, last.keys, last.what, () => remember(done));
});

function withdraw() {
  const chosen = targets().map((place) => rows[place].data);
  inTurn(() => withdrawFrom(chosen.filter(({ state }) => state.key)));
}

function withdrawFrom(decided) {
  if (!decided.length) return;
  const ids = decided.map((data) => data.example_id);
  return takeBack(ids, decided.map(({ state }) => state.key), "the decision", () => {
    const gone = new Set(decided.map(({ state }) => state.key));
    remember(mine().filter((done) => !done.keys.some((key, place) => gone.has(key) && ids.includes(done.ids[place]))));
  });
}

// What others decided meanwhile, in other tabs or processes, and whether the issues are still the same.
async function sync(force = false) {
  if (!page || waiting) return;
  const shown = rows;
  const ids = shown.map(({ data }) => data.example_id).join(",");
  try {
    const answer = await ask(`/api/states?${query({ ids })}`);
    if (waiting || rows !== shown) return;
    if (answer.signature !== page.signature) {
      ahead = null;
      await show();
      say(`${failure} The label issues were computed anew; these are the new ones.`.trim(), !failure);
      return;
    }
    if (answer.problem) say(answer.problem);
    else if (page.problem) {
      failure = "";
      say("");
    }
    page.problem = answer.problem;
    page.progress = answer.progress;
    page.waiting = answer.waiting;
    if (force || answer.version !== page.version) for (const row of rows) update(row, answer.states[row.data.example_id]);
    page.version = answer.version;
    tell();
  } catch (error) {
    page.problem = error.message;
    say(error.message);
  }
}

// ---- the class picker

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

// ---- keys and clicks

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

document.querySelector("nav").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) DO[button.dataset.do]();
});

function filtered() {
  ahead = null;
  history.replaceState(null, "", `?${query()}`);
  show();
}
filters.addEventListener("change", (event) => {
  if (filters.reportValidity()) {
    event.target.blur(); // so that the next key decides, and is not typed into the filter
    filtered();
  }
});
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", () => setTimeout(filtered));
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
