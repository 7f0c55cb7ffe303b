// The board: what the address asks for is what is shown, and every control writes the address.
"use strict";

(() => {
  const ALL = "all";
  const $ = (id) => document.getElementById(id);
  let board = null;
  let shown = { key: null, group: null, table: null };
  let view = null;
  let redrawing = 0;

  const panel = IB.facetPanel($("facets"), (name, values) => {
    const filters = { ...view.filters, [name]: values };
    if (!values.length) delete filters[name];
    go({ ...view, filters, page: 1 });
  });

  /** Show a view and remember it in the address: as a new step, or in place of the present one. */
  const go = (next, { replace = false } = {}) => {
    history[replace ? "replaceState" : "pushState"](null, "", IB.writeAddress(next));
    show(next);
  };

  const summaryOf = (id) => board.groups.find((group) => group.id === id) || null;

  const show = async (asked) => {
    const turn = ++redrawing;
    const summary = asked.group === ALL ? null : summaryOf(asked.group) || board.groups[0] || null;
    const key = summary ? summary.id : ALL;
    view = asked;
    if (shown.key !== key) {
      const group = summary ? { ...summary, ...(await IB.loadGroup(summary)) } : null;
      if (turn !== redrawing) return; // another view was asked for meanwhile
      open(key, group);
    }
    draw();
  };

  /** Change to another comparison group, or to all runs. */
  const open = (key, group) => {
    let rows = board.ids.map((_, i) => i);
    if (group) {
      rows = group.rows.map((id) => board.position.get(id));
      group.at = new Map(rows.map((i, place) => [i, place]));
    }
    const table = IB.makeTable(rows, IB.columnsOf(board, group));
    shown = { key, group, table };
    const facets = board.facets.filter(({ id }) => !(group && (id === "slo" || id === "suite")));
    panel.build(facets, table);
    $("group").value = key;
    describe(group);
    for (const { figure } of plots) figure.remove();
    plots = [];
    $("plots").hidden = !group || group.fronts.length === 0;
    for (const front of group ? group.fronts : []) addPlot(front);
  };

  const describe = (group) => {
    $("title").textContent = group ? group.suite : "All runs";
    const facts = group
      ? [["Version", group.version], ["Data", group.dataset], ["SLO", group.slo || "none"],
         ["Workload", group.workload.slice(0, 16)], ["Metric definitions", group.definitions],
         ["Order", group.order]]
      : [["Order", "none: runs are ranked only against runs that answer the same question"]];
    $("facts").replaceChildren(
      ...facts.map(([name, text]) => IB.el("div", {}, IB.el("dt", {}, name), IB.el("dd", {}, text))),
    );
  };

  const draw = () => {
    const { table, group } = shown;
    table.setView(view);
    const total = table.getCoreRowModel().rows.length;
    const left = table.getFilteredRowModel().rows.length;
    const pages = Math.max(1, Math.ceil(left / 100));
    if (view.page > pages) {
      view = { ...view, page: pages };
      table.setView(view);
    }
    IB.drawTable($("table"), board, group, table, view, (sort) => go({ ...view, sort, page: 1 }));
    panel.update(table, view.filters);
    if (document.activeElement !== $("search")) $("search").value = view.q;
    const many = (n) => n.toLocaleString("en-US");
    const runs = total === 1 ? "run" : "runs";
    $("count").textContent = left === total ? `${many(total)} ${runs}` : `${many(left)} of ${many(total)} ${runs}`;
    $("none").hidden = left > 0;
    $("pager").hidden = pages === 1;
    $("where").textContent = `Page ${view.page} of ${many(pages)}`;
    $("before").disabled = view.page === 1;
    $("after").disabled = view.page === pages;
    chips();
    drawPlots();
  };

  const chips = () => {
    const labels = Object.fromEntries(board.facets.map(({ id, label }) => [id, label]));
    const made = Object.entries(view.filters).flatMap(([name, values]) =>
      values.map((value) =>
        IB.el("button", {
          type: "button", class: "chip", "aria-label": `Remove filter ${labels[name]}: ${value || "not stated"}`,
          onclick: () => {
            const filters = { ...view.filters, [name]: values.filter((other) => other !== value) };
            if (!filters[name].length) delete filters[name];
            go({ ...view, filters, page: 1 });
            $("search").focus();
          },
        }, IB.el("span", { class: "soft" }, labels[name]), ` ${value || "not stated"} `, IB.el("span", { "aria-hidden": "true" }, "×")),
      ),
    );
    $("chips").replaceChildren(...made);
    $("clear").hidden = made.length === 0 && !view.q;
  };

  let plots = [];

  const addPlot = (front) => {
    const holder = IB.el("div", { class: "plot" });
    const note = IB.el("p", { class: "note" });
    const figure = IB.el("figure", {}, IB.el("figcaption", {}, IB.el("h3", {}, front.title), note), holder);
    $("figures").append(figure);
    plots.push({ figure, front, holder, note, seen: null });
    IB.whenSized(holder, () => drawPlots(front));
  };

  const pointsOf = ({ points }, group, series) =>
    points.row.map((place, at) => {
      const id = group.rows[place];
      const i = board.position.get(id);
      const name = ["model", "engine", "hardware", "load"].map((column) => board.value(column, i)).filter(Boolean).join(" · ");
      return {
        id, i, name, series: series.of(board.value(view.colour || "model", i)),
        x: points.x[at], y: points.y[at], on: points.on[at] === 1,
        xl: points.xl[at], xh: points.xh[at], yl: points.yl[at], yh: points.yh[at],
      };
    });

  const drawPlots = (only = null) => {
    const { table, group } = shown;
    if (!group || !$("more").open) return;
    const seen = JSON.stringify([view.filters, view.q, view.colour, view.log]);
    // another order, or another page of the table, changes no plot
    const stale = plots.filter((plot) => (only ? plot.front === only : plot.seen !== seen));
    if (!stale.length) return;
    const named = (id) => board.value(view.colour || "model", board.position.get(id));
    const ahead = group.fronts.flatMap(({ points }) => points.row.filter((_, at) => points.on[at]));
    const series = IB.seriesOf(group.rows.map(named), ahead.map((place) => named(group.rows[place])));
    const left = new Set(table.getFilteredRowModel().rows.map((row) => row.original));
    IB.legend($("legend"), series.legend);
    $("colour").value = view.colour || "model";
    $("log").checked = view.log;
    for (const plot of stale) {
      const { front, holder, note } = plot;
      plot.seen = seen;
      const all = pointsOf(front, group, series);
      const points = all.filter((p) => left.has(p.i));
      IB.tradeOff(holder, front, all, points, { log: view.log, page: board.page });
      const drawn = points.length > 300 ? "95 % intervals are drawn for the runs on it." : "Crosses are 95 % intervals.";
      note.textContent = ["Line: no run of this group beats these.", drawn, front.note].filter(Boolean).join(" ");
    }
  };

  const start = () => {
    board = IB.decode(self.IB_RUNS);
    for (const group of board.groups) $("group").append(IB.el("option", { value: group.id }, group.title));
    $("group").append(IB.el("option", { value: ALL }, `All ${board.ids.length.toLocaleString("en-US")} runs, not compared`));
    $("group").addEventListener("change", () =>
      go({ ...view, group: $("group").value, filters: {}, sort: null, page: 1 }));
    let typing = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => go({ ...view, q: $("search").value, page: 1 }, { replace: true }), 120);
    });
    $("clear").addEventListener("click", () => {
      $("search").value = "";
      go({ ...view, q: "", filters: {}, page: 1 });
      $("search").focus();
    });
    const turn = (by) => () => {
      go({ ...view, page: view.page + by });
      $("region").scrollTo({ top: 0 });
      $("region").scrollIntoView({ block: "nearest" });
    };
    $("before").addEventListener("click", turn(-1));
    $("after").addEventListener("click", turn(1));
    $("colour").addEventListener("change", () => go({ ...view, colour: $("colour").value }, { replace: true }));
    $("log").addEventListener("change", () => go({ ...view, log: $("log").checked }, { replace: true }));
    $("more").addEventListener("toggle", () => drawPlots());
    $("csv").addEventListener("click", () => {
      IB.download("leaderboard.csv", IB.csv(...IB.exported(board, shown.group, shown.table)));
    });
    if (matchMedia("(max-width: 60rem)").matches) $("filters").open = false;
    addEventListener("popstate", () => show(IB.readAddress(board.facets.map(({ id }) => id))));
    $("app").hidden = false;
    return show(IB.readAddress(board.facets.map(({ id }) => id)));
  };

  start().then(
    () => {
      performance.mark("board-ready");
      document.documentElement.setAttribute("data-ready", "1");
    },
    (error) => {
      $("broken").hidden = false;
      $("broken").textContent = `The table cannot be shown: ${error.message}`;
    },
  );
})();
