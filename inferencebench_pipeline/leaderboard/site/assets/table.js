// The table: TanStack's row models decide what is shown, this draws it as a plain HTML table.
"use strict";

(() => {
  const PAGE_SIZE = 100;
  const NAMES = [
    ["model", "Model"],
    ["engine", "Engine"],
    ["hardware", "Hardware"],
    ["load", "Load"],
  ];

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const byText = (a, b, id) => collator.compare(a.getValue(id) ?? "", b.getValue(id) ?? "");
  const oneOf = (row, id, wanted) => wanted.has(row.getValue(id) ?? "");
  const allWords = (row, id, words) => {
    const text = row.getValue(id);
    return words.every((word) => text.includes(word));
  };

  /** Columns of the view: what a run is, and within a comparison group what was measured of it. */
  IB.columnsOf = (board, group) => {
    const named = (id) => (i) => board.value(id, i);
    const columns = board.facets.map(({ id }) => ({
      id,
      accessorFn: named(id),
      filterFn: oneOf,
      sortingFn: byText,
    }));
    columns.push(
      { id: "measured", accessorFn: named("measured"), sortingFn: byText },
      { id: "repo", accessorFn: (i) => board.repos[i], sortingFn: byText },
      {
        id: "load_value",
        accessorFn: (i) => board.load_values[i] ?? undefined,
        sortUndefined: "last",
      },
      { id: "text", filterFn: allWords, accessorFn: (i) => haystack(board, i) },
    );
    if (!group) return columns;
    const at = group.at;
    columns.push({ id: "rank", sortingFn: "basic", accessorFn: (i) => at.get(i), sortUndefined: "last" });
    for (const metric of group.columns) {
      const values = group.metrics[metric.key].value;
      columns.push({
        id: `m.${metric.key}`,
        sortingFn: "basic",
        sortUndefined: "last",
        sortDescFirst: metric.better !== "lower",
        accessorFn: (i) => values[at.get(i)] ?? undefined,
      });
    }
    return columns;
  };

  const haystack = (board, i) =>
    [...board.facets.map(({ id }) => board.value(id, i)), board.repos[i], board.value("measured", i), board.ids[i]]
      .filter(Boolean)
      .join(" ")
      .toLowerCase();

  /** TanStack's table over run positions; every state change comes from the address. */
  IB.makeTable = (rows, columns) => {
    const table = TableCore.createTable({
      data: rows,
      columns,
      state: {},
      onStateChange: () => {},
      renderFallbackValue: null,
      enableMultiSort: false,
      autoResetPageIndex: false,
      getCoreRowModel: TableCore.getCoreRowModel(),
      getFilteredRowModel: TableCore.getFilteredRowModel(),
      getSortedRowModel: TableCore.getSortedRowModel(),
      getPaginationRowModel: TableCore.getPaginationRowModel(),
      getFacetedRowModel: TableCore.getFacetedRowModel(),
      getFacetedUniqueValues: TableCore.getFacetedUniqueValues(),
    });
    const initial = table.initialState;
    table.setView = (view) => {
      const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
      const columnFilters = Object.entries(view.filters).map(([id, values]) => ({ id, value: new Set(values) }));
      if (words.length) columnFilters.push({ id: "text", value: words });
      const known = view.sort && columns.some((column) => column.id === view.sort.id);
      const state = {
        ...initial,
        columnFilters: reuse(table, "columnFilters", columnFilters),
        sorting: reuse(table, "sorting", known ? [view.sort] : []),
        pagination: { pageIndex: view.page - 1, pageSize: PAGE_SIZE },
      };
      table.setOptions((options) => ({ ...options, state }));
    };
    return table;
  };

  // Row models are remembered by identity: an equal filter must stay the same object.
  const reuse = (table, name, next) => {
    const before = table.getState()[name];
    const key = (value) => JSON.stringify(value, (_, part) => (part instanceof Set ? [...part] : part));
    return before && key(before) === key(next) ? before : next;
  };

  const heading = ({ id, label, unit, title, numeric, desc }, view, sort) => {
    const sorted = view.sort?.id === id;
    const direction = sorted ? (view.sort.desc ? "descending" : "ascending") : null;
    const button = IB.el("button", { type: "button", title, "data-sort": id }, label);
    if (unit) button.append(IB.el("small", {}, unit));
    button.addEventListener("click", () => sort({ id, desc: sorted ? !view.sort.desc : Boolean(desc) }));
    return IB.el("th", { scope: "col", "aria-sort": direction, class: numeric ? "number" : id === "model" ? "name" : null }, button);
  };

  const headings = (board, group) => {
    const before = group ? [{ id: "rank", label: "#", numeric: true, title: RANK }] : [];
    const names = NAMES.map(([id, label]) => ({ id: id === "load" ? "load_value" : id, label }));
    const metrics = (group ? group.columns : []).map((metric) => ({
      id: `m.${metric.key}`,
      label: metric.label,
      unit: IB.unit(metric.unit),
      title: metric.definition,
      numeric: true,
      desc: metric.better !== "lower",
    }));
    const more = board.more.map(({ id, label }) => ({ id, label }));
    const suite = group ? [] : [{ id: "suite", label: "Question" }];
    return [
      ...before, ...names, ...more, ...suite, ...metrics,
      { id: "tier", label: "Standing" },
      { id: "measured", label: "Measured", desc: true },
    ];
  };

  const RANK = "Place by the group's first metric; runs whose intervals overlap are not separated";

  const metricCell = (metric, columns, place) => {
    const value = columns.value[place] ?? null;
    if (value === null) {
      return IB.el("td", { class: "number none", title: columns.why?.[place] || "not in this record" }, "–");
    }
    const low = columns.low[place] ?? null;
    const high = columns.high[place] ?? null;
    const n = columns.n[place] ?? null;
    const cell = IB.el("td", { class: "number", title: n === null ? null : `n = ${n.toLocaleString("en-US")}` }, IB.number(value));
    if (low !== null && high !== null) cell.append(IB.el("small", {}, `${IB.number(low)} – ${IB.number(high)}`));
    else if (n !== null) cell.append(IB.el("small", {}, `n ${n.toLocaleString("en-US")}`));
    return cell;
  };

  const standing = (board, i) => {
    const state = board.value("state", i);
    const tier = board.value("tier", i);
    const shown = state === "verified" ? tier || state : state.replaceAll("_", " ");
    const kind = state === "verified" ? (tier === "dev" ? "dev" : "good") : board.mild.includes(state) ? "mild" : "bad";
    const meaning = state === "verified" ? board.tiers[tier] : board.states[state];
    const cell = IB.el("td", {}, IB.el("span", { class: `badge ${kind}`, title: meaning }, shown === "dev" ? "dev key" : shown));
    const reason = board.value("reason", i);
    if (reason) cell.append(IB.el("small", { class: "why" }, reason));
    return cell;
  };

  const bodyRow = (board, group, i) => {
    const small = (text) => (text ? IB.el("small", {}, text) : null);
    const text = (id) => board.value(id, i);
    const cells = [];
    if (group) {
      const place = group.at.get(i);
      cells.push(IB.el("td", { class: "number rank" }, place === undefined ? "–" : group.rank[place]));
    }
    cells.push(
      IB.el("th", { scope: "row", class: "name" },
        IB.el("a", { href: board.page(board.ids[i]) }, text("model") || board.repos[i]), small(text("quantization"))),
      IB.el("td", { class: "engine" }, text("engine") || "–", small(text("engine_version"))),
      IB.el("td", { class: "hardware" }, text("hardware") || "–", small(text("hardware_class"))),
      IB.el("td", { class: "load" }, text("load") || "not stated"),
    );
    cells.push(...board.more.map(({ id }) => IB.el("td", { class: id }, text(id) || "–")));
    if (!group) cells.push(IB.el("td", {}, text("suite") || "–", small(text("slo"))));
    for (const metric of group ? group.columns : []) {
      cells.push(metricCell(metric, group.metrics[metric.key], group.at.get(i)));
    }
    cells.push(standing(board, i), IB.el("td", { class: "date" }, text("measured") || "–"));
    return IB.el("tr", {}, ...cells);
  };

  /** Draw the heading and the current page; `sort` is told which column was pressed. */
  IB.drawTable = (holder, board, group, table, view, sort) => {
    const focused = document.activeElement?.dataset?.sort;
    const head = IB.el("tr", {}, ...headings(board, group).map((column) => heading(column, view, sort)));
    holder.tHead.replaceChildren(head);
    const rows = table.getRowModel().rows.map((row) => bodyRow(board, group, row.original));
    holder.tBodies[0].replaceChildren(...rows);
    if (focused) holder.tHead.querySelector(`[data-sort="${CSS.escape(focused)}"]`)?.focus();
  };

  /** Heading and rows of the whole filtered view, for CSV. */
  IB.exported = (board, group, table) => {
    const names = board.facets.map(({ id }) => id);
    const metrics = group ? group.columns : [];
    const heading = [
      "run", "repository", "group", ...names, "measured",
      ...metrics.flatMap(({ key, unit }) => [unit ? `${key} [${unit}]` : key, `${key} low`, `${key} high`, `${key} n`]),
    ];
    const rows = table.getSortedRowModel().rows.map(({ original: i }) => [
      board.ids[i], board.repos[i], group ? group.id : board.value("group", i),
      ...names.map((id) => board.value(id, i)), board.value("measured", i),
      ...metrics.flatMap(({ key }) => {
        const { value, low, high, n } = group.metrics[key];
        return [value, low, high, n].map((column) => column[group.at.get(i)] ?? null);
      }),
    ]);
    return [heading, rows];
  };
})();
