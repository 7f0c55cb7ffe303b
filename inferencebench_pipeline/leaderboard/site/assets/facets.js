// The filter panel: per property its values with the number of runs each would leave.
"use strict";

(() => {
  const AT_FIRST = 8;
  const NOT_STATED = "not stated";

  /** Show the facets of a table in `panel`; `choose(name, values)` is told what was ticked. */
  IB.facetPanel = (panel, choose) => {
    let shown = new Map();

    const build = (facets, table) => {
      panel.replaceChildren();
      shown = new Map();
      for (const { id, label } of facets) {
        const values = [...valuesOf(table, id)];
        if (values.length < 2) continue;
        values.sort(([a, m], [b, n]) => n - m || (a ?? "").localeCompare(b ?? ""));
        const boxes = new Map();
        const list = IB.el("div", { class: "choices" });
        for (const [value] of values) {
          const key = value ?? "";
          const count = IB.el("span", { class: "count" });
          const box = IB.el("input", { type: "checkbox", onchange: () => choose(id, ticked(boxes)) });
          const line = IB.el("label", {}, box, IB.el("span", { class: "name", title: value }, value ?? NOT_STATED), count);
          boxes.set(key, { box, count, line });
          list.append(line);
        }
        const block = IB.el("fieldset", { class: "facet" }, IB.el("legend", {}, label), list);
        if (values.length > AT_FIRST) block.append(more(list, values.length));
        panel.append(block);
        shown.set(id, boxes);
      }
      if (!shown.size) panel.append(IB.el("p", { class: "note" }, "Nothing to filter by: these runs are alike."));
    };

    const update = (table, filters) => {
      for (const [id, boxes] of shown) {
        const counts = table.getColumn(id).getFacetedUniqueValues();
        const wanted = new Set(filters[id] || []);
        for (const [key, { box, count, line }] of boxes) {
          const number = counts.get(key === "" ? null : key) || 0;
          count.textContent = number.toLocaleString("en-US");
          box.checked = wanted.has(key);
          line.classList.toggle("none", number === 0);
        }
      }
    };
    return { build, update };
  };

  const valuesOf = (table, id) => {
    const counts = new Map();
    for (const row of table.getCoreRowModel().flatRows) {
      const value = row.getValue(id);
      counts.set(value, (counts.get(value) || 0) + 1);
    }
    return counts;
  };

  const ticked = (boxes) => [...boxes].filter(([, { box }]) => box.checked).map(([key]) => key);

  const more = (list, total) => {
    list.classList.add("folded");
    const button = IB.el("button", { type: "button", class: "quiet", "aria-expanded": "false" }, `All ${total}`);
    button.addEventListener("click", () => {
      const folded = list.classList.toggle("folded");
      button.setAttribute("aria-expanded", String(!folded));
      button.textContent = folded ? `All ${total}` : "Fewer";
    });
    return button;
  };
})();
