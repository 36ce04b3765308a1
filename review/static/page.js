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
let wanted = []; // the filters that choose the rows, by name
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
  // Numbers that are being typed, or are none, choose nothing yet.
  if (!fault()) wanted = [...new FormData(filters)];
  const chosen = new URLSearchParams();
  for (const [name, value] of wanted) {
    // People say per cent, the server shares of 1.
    if (value !== "") chosen.set(name, name.startsWith("prob_") ? String(Number(value) / 100) : value);
  }
  for (const [name, value] of Object.entries(extra)) chosen.set(name, value);
  return chosen.toString();
}

// Among which rows those of the page are shown.
const view = () => Object.fromEntries(new URLSearchParams(query()));

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
  say(answer.problem || failure || fault());
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
    ? `${count(page.waiting)} ${page.waiting === 1 ? "decision waits" : "decisions wait"}; relabel run (or dvc repro) applies them` : "";
  byId("outlook").textContent = page.outlook.line;
  byId("sentences").replaceChildren(...page.outlook.sentences.map((text) => element("p", "", text)));
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
