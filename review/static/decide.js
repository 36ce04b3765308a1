"use strict";
// Decisions: what is sent to the server, taken back, and what others decided meanwhile.

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
      page.outlook = answer.outlook;
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
  const before = told(row.data);
  row.data.state = { ...state, told: state.told ?? before };
  mark(row.item, state);
  if (state.told && !before) row.item.querySelector(".bars").replaceWith(topClasses(row.data));
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
  send({ example_ids: ids, decision, label, signature: page.signature, view: view() }, (answer) => {
    remember([...mine(), { ids, keys: ids.map((id) => answer.states[id].key), what: `${SAID[decision]}` }]);
  });
  for (const place of [...selected]) select(place, false);
  const next = places.at(-1) + 1;
  if (next < rows.length) move(next);
  else nextPage();
}

function takeBack(ids, keys, what, done) {
  const sent = send({ example_ids: ids, decision: "undo", signature: page.signature, keys, view: view() }, () => {
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
    page.outlook = answer.outlook;
    if (force || answer.version !== page.version) for (const row of rows) update(row, answer.states[row.data.example_id]);
    page.version = answer.version;
    tell();
  } catch (error) {
    page.problem = error.message;
    say(error.message);
  }
}
