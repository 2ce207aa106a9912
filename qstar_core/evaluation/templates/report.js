// The switch between the run and what changed since another one.
(() => {
  const buttons = Array.from(document.querySelectorAll(".switch button"));
  const sections = (name) => document.querySelectorAll(".of-" + name);
  function show(name) {
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.show === name)));
    sections("run").forEach((section) => { section.hidden = name !== "run"; });
    sections("against").forEach((section) => { section.hidden = name !== "against"; });
  }
  buttons.forEach((b) => b.addEventListener("click", () => show(b.dataset.show)));
  document.querySelectorAll("nav a").forEach((link) => link.addEventListener("click", () => {
    if (buttons.length && document.querySelector(link.hash + ".of-run")) show("run");
  }));
  document.querySelectorAll("[data-change]").forEach((b) => b.addEventListener("click", () => {
    const field = document.getElementById("changed");
    field.value = b.dataset.change;
    field.dispatchEvent(new Event("change"));
    document.getElementById("problems").scrollIntoView();
  }));
})();

// The list of problems: search, filters, and details that are read when they are wanted.
(() => {
  const browser = document.getElementById("browser");
  const block = document.getElementById("heads");
  if (!browser || !block) return;
  const { panel, add } = qstarPanel;
  const AT_ONCE = 100;
  const by = (id) => document.getElementById(id);
  const [find, deep, solved, changed, count, list, more, panels, waiting] =
    ["find", "deep", "solved", "changed", "count", "list", "more", "panels", "waiting"].map(by);
  const parts = new Map();
  const arriving = new Map();
  let data, problems = [], fitting = [], shown = 0, current = null, method = "", asked = 0;

  async function unpack(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // Called by the files beside this page; a page of file:// may load scripts but not fetch.
  window.qstarPart = (number, text) => {
    const waiting = arriving.get(number);
    if (waiting) waiting(text);
  };

  function beside(number) {
    return new Promise((resolve, reject) => {
      arriving.set(number, resolve);
      const script = document.createElement("script");
      script.src = data.files[number];
      script.onerror = () => reject(new Error(data.files[number] + " does not lie beside this page"));
      document.head.append(script);
    });
  }

  function part(number) {
    if (!parts.has(number)) {
      const inline = by("part-" + number);
      const text = inline ? Promise.resolve(inline.textContent) : beside(number);
      const read = text.then(unpack);
      read.catch(() => parts.delete(number));
      parts.set(number, read);
    }
    return parts.get(number);
  }

  const details = (problem) => problem.at < 0 ? Promise.resolve(null)
    : part(Math.floor(problem.at / data.part)).then((rows) => rows[problem.at % data.part]);

  const right = (problem, m) => problem.results[m] ? data.outcomes[problem.results[m].outcome] === "correct" : false;

  const tests = {
    "": () => true,
    all: (p) => p.right.every(Boolean),
    none: (p) => !p.right.some(Boolean),
    differ: (p) => p.right.some(Boolean) && !p.right.every(Boolean),
    only: (p) => p.right[data.headline] && p.right.filter(Boolean).length === 1,
    lost: (p) => !p.right[data.headline] && p.right.some(Boolean),
    headline: (p) => p.right[data.headline] && !p.right[data.baseline],
    baseline: (p) => !p.right[data.headline] && p.right[data.baseline],
    failed: (p) => p.results.some((r) => r && data.failures.includes(data.outcomes[r.outcome])),
  };

  function words(problem) {
    if (problem.words === undefined) {
      const parts = [problem.id, problem.prompt, problem.reference];
      problem.results.forEach((r) => r && parts.push(r.answer, data.outcomes[r.outcome].replaceAll("_", " "), ...r.steps));
      problem.words = parts.join("\n").toLowerCase();
    }
    return problem.words;
  }

  async function readAll() {
    await Promise.all(problems.map(async (problem) => {
      if (problem.deep !== undefined) return;
      const rows = await details(problem);
      const texts = (rows || []).flatMap((r) => r ? [r.reason, r.why, ...(r.tree ? r.tree.text : [])] : []);
      problem.deep = texts.join("\n").toLowerCase();
    }));
  }

  function change(problem) {
    if (!changed || !changed.value) return true;
    const [which, m] = changed.value.split(" ");
    return problem.change !== null && problem.change[Number(m)] === (which === "better" ? 1 : -1);
  }

  async function filter() {
    const turn = ++asked;
    if (deep.checked) {
      count.textContent = "Reading the trees …";
      try { await readAll(); } catch (error) { count.textContent = error.message; return; }
      if (turn !== asked) return;
    }
    const wanted = find.value.trim().toLowerCase().split(/\n/).filter(Boolean);
    const fits = (p) => wanted.every((text) => words(p).includes(text) || (deep.checked && p.deep.includes(text)));
    fitting = problems.filter((p) => tests[solved.value](p) && change(p) && fits(p));
    shown = 0;
    list.replaceChildren();
    showMore();
    const all = problems.length.toLocaleString("en-US"), some = fitting.length.toLocaleString("en-US");
    count.textContent = (some === all ? all : some + " of " + all) + " problems";
  }

  function showMore() {
    fitting.slice(shown, shown + AT_ONCE).forEach((problem) => {
      const button = add(add(list, "li", {}), "button", { type: "button", class: "pick", "aria-pressed": String(problem === current) });
      problem.button = button;
      add(button, "span", { class: "prompt" }, problem.prompt);
      const results = add(button, "span", { class: "by" });
      data.methods.forEach((m, k) => {
        if (problem.results[k]) add(results, "span", { class: problem.right[k] ? "yes" : "no" }, (problem.right[k] ? "✓ " : "✗ ") + m.name);
      });
      button.addEventListener("click", () => choose(problem, true));
    });
    shown = Math.min(shown + AT_ONCE, fitting.length);
    more.hidden = shown >= fitting.length;
  }

  async function choose(problem, asked) {
    if (current && current.button) current.button.setAttribute("aria-pressed", "false");
    current = problem;
    if (problem.button) problem.button.setAttribute("aria-pressed", "true");
    let rows = null, trouble = "";
    try { rows = await details(problem); } catch (error) { trouble = error.message; }
    if (current !== problem) return;
    const made = panel(problem, rows, data, method, (name) => { method = name; });
    if (trouble) add(made, "p", { class: "notice" }, trouble);
    panels.replaceChildren(made);
    if (!asked) return;
    history.replaceState(null, "", "#problem-" + problem.id);
    if (window.matchMedia("(max-width: 760px)").matches) made.scrollIntoView({ block: "start" });
  }

  function named() {
    const id = location.hash.replace("#problem-", "");
    return problems.find((p) => p.id === id);
  }

  async function start() {
    waiting.hidden = false;
    data = await unpack(block.textContent);
    problems = data.problems.map(([id, prompt, reference, results, at, change]) => ({
      id, prompt, reference, at, change,
      results: results.map((r) => r && { outcome: r[0], answer: r[1], tokens: r[2], steps: r[3] }),
    }));
    problems.forEach((p) => { p.right = data.methods.map((_, m) => right(p, m)); });
    method = data.headline === null ? "" : data.methods[data.headline].name;
    waiting.hidden = true;
    browser.hidden = false;
    await filter();
    const first = named();
    if (problems.length) await choose(first || problems[0], false);
    if (first) panels.scrollIntoView({ block: "start" });
    document.documentElement.dataset.ready = "1";
    performance.mark("ready");
  }

  find.addEventListener("input", filter);
  [deep, solved, changed].forEach((field) => field && field.addEventListener("change", filter));
  more.addEventListener("click", showMore);
  window.addEventListener("hashchange", () => {
    const problem = named();
    if (problem) choose(problem, false);
  });
  start().catch((error) => { waiting.hidden = false; waiting.textContent = "The problems cannot be shown: " + error.message; });
})();
