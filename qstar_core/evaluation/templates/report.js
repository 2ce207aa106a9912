"use strict";
(() => {
  const all = (selector, inside = document) => Array.from(inside.querySelectorAll(selector));
  const picks = all(".pick");
  if (!picks.length) return;
  const find = document.getElementById("find");
  const solved = document.getElementById("solved");
  const count = document.getElementById("count");
  let method = "";

  function press(buttons, chosen) {
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === chosen)));
  }

  function showTree(button) {
    const panel = button.closest(".panel");
    press(all(".tabs button", panel), button);
    all(".tree-view", panel).forEach((view) => { view.hidden = view.id !== button.dataset.tree; });
  }

  function showProblem(button) {
    press(picks, button);
    all(".panel").forEach((panel) => { panel.hidden = panel.id !== button.dataset.panel; });
    const panel = document.getElementById(button.dataset.panel);
    const tab = all(".tabs button", panel).find((b) => b.dataset.method === method);
    if (tab) showTree(tab);
    if (window.matchMedia("(max-width: 760px)").matches) panel.scrollIntoView({ block: "start" });
  }

  function filter() {
    const text = find.value.trim().toLowerCase();
    let shown = 0;
    picks.forEach((button) => {
      const item = button.parentElement;
      const prompt = button.querySelector(".prompt").textContent.toLowerCase();
      item.hidden = !prompt.includes(text) || (solved.value !== "" && item.dataset[solved.value] !== "1");
      shown += item.hidden ? 0 : 1;
    });
    const total = picks.length;
    count.textContent = shown === total ? total + " problems" : shown + " of " + total + " problems";
  }

  function openTree(view, which) {
    all(".tree details", view).forEach((d) => {
      d.open = which === "all" || d.parentElement.classList.contains("chosen") || d.closest(".tree") === d.parentElement.parentElement;
    });
  }

  function goToNode(id) {
    const item = document.getElementById(id);
    if (!item) return;
    for (let up = item.parentElement; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    all(".tree li.found").forEach((li) => li.classList.remove("found"));
    item.classList.add("found");
    item.scrollIntoView({ block: "center" });
  }

  picks.forEach((button) => button.addEventListener("click", () => showProblem(button)));
  all(".tabs button").forEach((button) => button.addEventListener("click", () => {
    method = button.dataset.method;
    showTree(button);
  }));
  all(".tools button").forEach((button) => button.addEventListener("click", () => {
    openTree(button.closest(".tree-view"), button.dataset.open);
  }));
  all(".tree-drawing .node").forEach((node) => node.addEventListener("click", () => goToNode(node.dataset.node)));
  find.addEventListener("input", filter);
  solved.addEventListener("change", filter);
  filter();
})();
