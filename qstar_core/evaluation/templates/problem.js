"use strict";
// One problem and its search trees. Texts of models are only ever put into text nodes.
const qstarPanel = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const COLUMN = 180, LEAF = 15, LEAST = 5, TALLEST = 900, MARGIN = 20, LABEL = 160, LETTERS = 24;
  const words = (name) => name.replaceAll("_", " ");

  function add(parent, tag, attributes, ...children) {
    const made = parent && parent.namespaceURI === SVG || tag === "svg"
      ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    if (parent) parent.append(made);
    return made;
  }

  function number(value, digits = 2) {
    if (value === null || value === undefined) return "–";
    const text = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (value < 0 && /[1-9]/.test(text) ? "−" : "") + text;
  }

  // The nodes come parents first, the likeliest child first, each with the place of its parent.
  function nodes(tree) {
    const all = tree.text.map((text, i) => ({
      text, place: i, id: tree.id[i], up: tree.up[i], order: tree.order[i], kids: [], depth: 0,
      end: (tree.flags[i] & 1) > 0, chosen: (tree.flags[i] & 2) > 0,
      grade: (tree.flags[i] & 4) > 0 ? "right" : (tree.flags[i] & 8) > 0 ? "wrong" : "",
      logprob: tree.logprob[i], q: tree.q[i], reward: tree.reward[i], g: tree.g[i], h: tree.h[i], f: tree.f[i],
    }));
    all.forEach((node) => {
      if (node.up < 0) return;
      const parent = all[node.up];
      parent.kids.push(node);
      node.depth = parent.depth + 1;
    });
    return all;
  }

  function kind(node) {
    if (node.depth === 0) return "root";
    if (node.end) return node.order >= 0 ? "finished" : "end";
    return node.order >= 0 ? "expanded" : "open";
  }

  function shorten(text) {
    const line = text.split(/\s+/).filter(Boolean).join(" ");
    return line.length <= LETTERS ? line : line.slice(0, LETTERS - 1).trimEnd() + "…";
  }

  // From left to right, a column per step; leaves get a row each, parents the middle of their children.
  function layout(all) {
    const leaves = all.filter((node) => !node.kids.length).length;
    const pitch = Math.max(LEAST, Math.min(LEAF, TALLEST / leaves));
    let row = 0;
    all.forEach((node) => {
      node.x = MARGIN + COLUMN * node.depth;
      if (!node.kids.length) node.y = MARGIN + pitch * row++;
    });
    for (let i = all.length - 1; i >= 0; i--) {
      const kids = all[i].kids;
      if (kids.length) all[i].y = (kids[0].y + kids[kids.length - 1].y) / 2;
    }
    const depth = Math.max(...all.map((node) => node.depth));
    return [COLUMN * depth + 2 * MARGIN + LABEL, Math.round(pitch * (leaves - 1) + 2 * MARGIN)];
  }

  function draw(all, prefix, name, goTo) {
    const [width, height] = layout(all);
    const svg = add(null, "svg", { class: "tree-drawing", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "Overview of the search tree of " + name });
    const edges = add(svg, "g", { class: "edges" });
    const last = (a, b) => a.chosen - b.chosen;
    const sorted = all.slice().sort(last);
    sorted.forEach((node) => {
      if (node.up < 0) return;
      const from = all[node.up], middle = from.x + 0.4 * (node.x - from.x);
      add(edges, "path", { class: node.chosen ? "chosen" : null, d: `M${from.x} ${from.y}C${middle} ${from.y} ${middle} ${node.y} ${node.x} ${node.y}` });
    });
    sorted.forEach((node) => {
      const type = kind(node);
      const mark = add(svg, "g", { class: `node ${type}${node.chosen ? " chosen" : ""}`, "data-node": `${prefix}-${node.id}`, transform: `translate(${node.x} ${node.y.toFixed(1)})` });
      const taken = node.order >= 0 ? ", taken up as number " + node.order : "";
      add(mark, "title", {}, `${node.text}\nf ${number(node.f, 3)}${taken}${node.grade ? ", " + node.grade : ""}`);
      if (type === "finished" || type === "end") {
        const r = type === "finished" ? 7 : 3.5;
        add(mark, "rect", { x: -r, y: -r, width: 2 * r, height: 2 * r, rx: 1.5 });
      } else {
        add(mark, "circle", { r: type === "open" ? 3.2 : 7.5 });
      }
      if (type !== "open" && type !== "end" && node.order >= 0) add(mark, "text", { class: "order", y: 3 }, String(node.order));
      if (node.chosen && node.depth > 0) {
        const side = !node.kids.length ? "right" : node.y <= all[node.up].y ? "above" : "below";
        const at = { right: [12, 4], above: [6, -12], below: [6, 21] }[side];
        add(mark, "text", { class: "label " + side, x: at[0], y: at[1] }, shorten(node.text));
      }
      mark.addEventListener("click", () => goTo(mark.dataset.node));
    });
    return svg;
  }

  function row(node) {
    const line = add(null, "span", { class: "row" });
    add(line, "span", { class: node.order >= 0 ? "pop done" : "pop" }, node.order >= 0 ? String(node.order) : "");
    const text = add(line, "span", { class: "text" }, node.text || "(empty)");
    if (node.end) add(text, "em", { class: node.grade || null }, node.grade ? "end, " + node.grade : "end");
    const cells = add(line, "span", { class: "cells" });
    [["log p", node.logprob], ["Q", node.q], ["R", node.reward], ["g", node.g], ["h", node.h], ["f", node.f]].forEach(([name, value]) => add(cells, "i", { "data-k": name }, number(value)));
    return line;
  }

  function list(all, prefix) {
    const items = all.map((node) => add(null, "li", { class: node.chosen ? "chosen" : null, id: `${prefix}-${node.id}` }));
    all.forEach((node, i) => {
      if (!node.kids.length) {
        add(items[i], "div", { class: "leaf" }, row(node));
        return;
      }
      const fold = add(items[i], "details", { open: node.depth === 0 || node.chosen });
      add(fold, "summary", {}, row(node));
      const below = add(fold, "ul", {});
      node.kids.forEach((kid) => below.append(items[kid.place]));
    });
    return add(null, "ul", { class: "tree" }, items[0]);
  }

  function key(mark, text) {
    const item = add(null, "li", {});
    const svg = add(item, "svg", { width: 24, height: 18, "aria-hidden": "true" });
    if (mark === "chosen") add(add(svg, "g", { class: "edges" }), "path", { class: "chosen", d: "M1 9H23" });
    else {
      const node = add(svg, "g", { class: "node " + mark, transform: "translate(12 9)" });
      if (mark === "finished") add(node, "rect", { x: -7, y: -7, width: 14, height: 14, rx: 1.5 });
      else add(node, "circle", { r: mark === "open" ? 3.2 : 7.5 });
      if (mark !== "open") add(node, "text", { class: "order", y: 3 }, mark === "finished" ? "3" : "2");
    }
    item.append(text);
    return item;
  }

  function treeView(result, name, prefix) {
    const all = nodes(result.tree);
    const view = add(null, "div", { class: "tree-view", id: prefix, "data-method": name });
    const goTo = (id) => {
      const item = document.getElementById(id);
      for (let up = item.parentElement; up !== view; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
      view.querySelectorAll("li.found").forEach((li) => li.classList.remove("found"));
      item.classList.add("found");
      item.scrollIntoView({ block: "center" });
    };
    add(view, "h4", { class: "tree-title" }, "Search tree of " + name);
    add(view, "div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Drawing of the search tree of " + name }, draw(all, prefix, name, goTo));
    add(view, "ul", { class: "legend small" }, key("expanded", "taken up, in this order"), key("finished", "finished"), key("open", "other"), key("chosen", "returned"));
    add(view, "p", { class: "why" }, result.why);
    const head = add(view, "div", { class: "tree-head" });
    const tools = add(head, "span", { class: "tools" });
    const names = add(head, "span", { class: "cells", "aria-hidden": "true" });
    ["log p", "Q", "R", "g", "h", "f"].forEach((text) => add(names, "i", {}, text));
    const tree = list(all, prefix);
    view.append(tree);
    const open = (test) => tree.querySelectorAll("details").forEach((fold) => { fold.open = test(fold.parentElement); });
    add(tools, "button", { type: "button" }, "Open all").addEventListener("click", () => open(() => true));
    add(tools, "button", { type: "button" }, "Returned path only").addEventListener("click", () => open((item) => item.classList.contains("chosen") || item === tree.firstChild));
    return view;
  }

  function answer(method, head, more, outcomes) {
    const good = outcomes[head.outcome] === "correct";
    const box = add(null, "div", { class: "answer " + (good ? "solved" : "unsolved") });
    const title = add(box, "h4", {}, add(null, "span", { class: "swatch c" + method.colour }), method.name);
    add(title, "span", { class: "outcome" }, (good ? "✓ " : "✗ ") + words(outcomes[head.outcome]));
    if (head.steps.length) {
      const steps = add(box, "ol", { class: "steps" });
      head.steps.forEach((step) => add(steps, "li", {}, step));
    } else add(box, "p", { class: "empty" }, "no trajectory was finished");
    if (more && more.reason) add(box, "p", { class: "reason" }, more.reason);
    const costs = add(box, "p", { class: "costs" });
    if (head.answer) add(costs, "span", {}, "answer ", add(null, "b", {}, head.answer));
    if (more) add(costs, "span", {}, "score " + number(more.score, 3));
    add(costs, "span", {}, number(head.tokens, 0) + " tokens");
    if (more) {
      add(costs, "span", {}, number(more.calls, 0) + " value calls");
      add(costs, "span", {}, number(more.expansions, 0) + " expansions");
      add(costs, "span", {}, number(more.finished, 0) + " finished");
      add(costs, "span", {}, "stopped: " + words(more.stop));
    }
    return box;
  }

  // problem: of the list; details: of its part, or null where it has no trees in the report.
  function panel(problem, details, data, preferred, onMethod) {
    const article = add(null, "article", { class: "panel", id: "panel" });
    add(article, "h3", { class: "mono" }, problem.prompt);
    const meta = add(article, "p", { class: "meta" });
    add(meta, "span", {}, "problem ", add(null, "code", {}, problem.id));
    add(meta, "span", { class: "break" }, "reference ", add(null, "code", {}, problem.reference));
    const answers = add(article, "div", { class: "answers" });
    const views = [];
    data.methods.forEach((method, m) => {
      const head = problem.results[m];
      if (!head) return;
      const more = details && details[m];
      answers.append(answer(method, head, more, data.outcomes));
      if (more && more.tree) views.push([method.name, more, "t" + m]);
    });
    if (!views.length) {
      add(article, "p", { class: "empty" }, details ? "No search left a tree for this problem." : "The trees of this problem are not in this report: evaluation.report_trees says how many are. qstar explain shows them.");
      return article;
    }
    const tabs = add(article, "div", { class: "tabs", role: "group", "aria-label": "Search tree of" });
    const place = add(article, "div", {});
    const show = (chosen) => {
      Array.from(tabs.children).forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.method === chosen)));
      const [name, more, prefix] = views.find((view) => view[0] === chosen);
      place.replaceChildren(treeView(more, name, prefix));
    };
    views.forEach(([name, more]) => {
      const tab = add(tabs, "button", { type: "button", "data-method": name }, name + " ", add(null, "small", {}, more.tree.text.length + " nodes"));
      tab.addEventListener("click", () => { onMethod(name); show(name); });
    });
    show(views.some((view) => view[0] === preferred) ? preferred : views[0][0]);
    return article;
  }

  return { panel, add, words };
})();
