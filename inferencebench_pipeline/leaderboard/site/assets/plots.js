// Plots: trade-offs with their front and intervals, and how a run's latencies are distributed.
"use strict";

(() => {
  const MARGIN = { top: 30, right: 18, bottom: 44, left: 54 };
  const INTERVALS_AT_MOST = 300;
  const SERIES = 8;

  const range = (points, at, low, high) => {
    const smallest = d3.min(points, (p) => Math.min(p[at], p[low] ?? p[at]));
    return [smallest, d3.max(points, (p) => Math.max(p[at], p[high] ?? p[at]))];
  };

  /** A scale over what is drawn: from zero, or logarithmic where the reader asks for it. */
  const scaleOf = ([low, high], log, pixels) => {
    if (log && low > 0) return d3.scaleLog([low / 1.15, high * 1.15], pixels);
    return d3.scaleLinear([Math.min(0, low), high > 0 ? high * 1.05 : 1], pixels).nice();
  };

  const axisTitle = (column, logarithmic) => {
    const unit = IB.unit(column.unit);
    const way = column.better ? `, ${column.better} is better` : "";
    return `${column.label}${unit ? ` (${unit})` : ""}${way}${logarithmic ? " · log axis, not from zero" : ""}`;
  };

  /** Where a grid line is drawn: at every tick, of a log axis at the powers of ten. */
  const ruled = (scale, count) => {
    const ticks = scale.ticks(count);
    return scale.base ? ticks.filter((v) => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9) : ticks;
  };

  const axes = (svg, x, y, width, height, titles) => {
    const format = (v) => (v >= 1e4 ? d3.format("~s")(v) : IB.number(v));
    const [across, up] = [Math.max(3, Math.round(width / 75)), Math.max(3, Math.round(height / 60))];
    const bottom = d3.axisBottom(x).ticks(x.base ? 5 : across, format).tickSizeOuter(0);
    const left = d3.axisLeft(y).ticks(y.base ? 5 : up, format).tickSizeOuter(0);
    if (!x.base) bottom.tickFormat(format);
    if (!y.base) left.tickFormat(format);
    const grid = svg.append("g").attr("class", "grid").attr("aria-hidden", "true");
    grid.selectAll("line.h").data(ruled(y, up)).join("line").attr("class", "h")
      .attr("x1", MARGIN.left).attr("x2", width - MARGIN.right)
      .attr("y1", (v) => y(v)).attr("y2", (v) => y(v));
    grid.selectAll("line.v").data(ruled(x, across)).join("line").attr("class", "v")
      .attr("y1", MARGIN.top).attr("y2", height - MARGIN.bottom)
      .attr("x1", (v) => x(v)).attr("x2", (v) => x(v));
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${height - MARGIN.bottom})`).call(bottom);
    svg.append("g").attr("class", "axis").attr("transform", `translate(${MARGIN.left},0)`).call(left);
    svg.selectAll(".axis").attr("font-family", null).attr("font-size", null).attr("aria-hidden", "true");
    svg.append("text").attr("class", "axis-title").attr("text-anchor", "end")
      .attr("x", width - MARGIN.right).attr("y", height - 8).text(`${titles.x} →`);
    svg.append("text").attr("class", "axis-title").attr("x", 2).attr("y", 12).text(`↑ ${titles.y}`);
  };

  const canvas = (holder, label, height) => {
    const width = Math.max(280, holder.clientWidth);
    holder.dataset.width = holder.clientWidth;
    holder.replaceChildren();
    const svg = d3.select(holder).append("svg").attr("width", width).attr("height", height)
      .attr("viewBox", `0 0 ${width} ${height}`).attr("role", "group").attr("aria-label", label);
    return { svg, width, height };
  };

  const shape = (series) => d3.symbol(d3.symbolsFill[series % d3.symbolsFill.length]);

  /** One path with a symbol at every point: thousands of elements would be slow to draw. */
  const stamped = (symbol, points, x, y) => {
    const path = d3.pathRound(1);
    let [dx, dy] = [0, 0];
    const moved = {
      moveTo: (px, py) => path.moveTo(px + dx, py + dy),
      lineTo: (px, py) => path.lineTo(px + dx, py + dy),
      arc: (px, py, ...rest) => path.arc(px + dx, py + dy, ...rest),
      rect: (px, py, ...rest) => path.rect(px + dx, py + dy, ...rest),
      closePath: () => path.closePath(),
    };
    symbol.context(moved);
    for (const p of points) {
      [dx, dy] = [x(p.x), y(p.y)];
      symbol();
    }
    return String(path);
  };

  const intervals = (svg, points, x, y) => {
    const path = d3.path();
    for (const p of points) {
      if (p.xl !== null && p.xh !== null) {
        path.moveTo(x(p.xl), y(p.y));
        path.lineTo(x(p.xh), y(p.y));
      }
      if (p.yl !== null && p.yh !== null) {
        path.moveTo(x(p.x), y(p.yl));
        path.lineTo(x(p.x), y(p.yh));
      }
    }
    svg.append("path").attr("class", "interval").attr("d", String(path)).attr("aria-hidden", "true");
  };

  /** The front as a staircase: what is reached at each level by some run that is not beaten. */
  const staircase = (svg, front, columns, x, y) => {
    const ordered = [...front].sort((a, b) => a.x - b.x);
    const curve = columns.x.better === "higher" ? d3.curveStepBefore : d3.curveStepAfter;
    svg.append("path").attr("class", "front").attr("aria-hidden", "true")
      .attr("d", d3.line((p) => x(p.x), (p) => y(p.y)).curve(curve)(ordered));
  };

  const clipped = (scale, value) => (scale.base && !(value > 0) ? null : value);

  /**
   * One trade-off. `points` are {id, x, y, xl, xh, yl, yh, on, series, name}; `all` is every ranked
   * run of the group (scales and the front come from it), `points` those the filters leave.
   */
  IB.tradeOff = (holder, front, all, points, { log, page, height = 330 }) => {
    const label = `${front.title}: ${points.length} runs, ${points.filter((p) => p.on).length} on the front`;
    const { svg, width } = canvas(holder, label, height);
    const x = scaleOf(range(all, "x", "xl", "xh"), log, [MARGIN.left, width - MARGIN.right]);
    const y = scaleOf(range(all, "y", "yl", "yh"), log, [height - MARGIN.bottom, MARGIN.top]);
    axes(svg, x, y, width, height, {
      x: axisTitle(front.x, Boolean(x.base)),
      y: axisTitle(front.y, Boolean(y.base)),
    });
    const safe = (p) => ({ ...p, xl: clipped(x, p.xl), yl: clipped(y, p.yl) });
    const behind = points.filter((p) => !p.on);
    const ahead = points.filter((p) => p.on).sort((a, b) => a.x - b.x);
    intervals(svg, (points.length > INTERVALS_AT_MOST ? ahead : points).map(safe), x, y);
    staircase(svg, all.filter((p) => p.on), front, x, y);
    for (const [series, members] of d3.group(behind, (p) => p.series)) {
      svg.append("path").attr("class", `behind s${series}`).attr("aria-hidden", "true")
        .attr("data-points", members.length)
        .attr("d", stamped(shape(series).size(points.length > 1000 ? 14 : 26), members, x, y));
    }
    const links = svg.append("g").attr("class", "ahead").selectAll("a").data(ahead).join("a")
      .attr("href", (p) => page(p.id)).attr("aria-label", (p) => told(p, front))
      .attr("class", (p) => `s${p.series}`);
    links.append("path").attr("d", (p) => shape(p.series).size(64)())
      .attr("transform", (p) => `translate(${x(p.x)},${y(p.y)})`);
    tooltip(holder, svg, points, front, x, y, page, links);
  };

  const between = (low, high) => (low === null || high === null ? "" : ` [${IB.number(low)}, ${IB.number(high)}]`);

  const told = (p, front) =>
    `${p.name}; ${front.x.label} ${IB.number(p.x)}${between(p.xl, p.xh)} ${IB.unit(front.x.unit) || ""}; ` +
    `${front.y.label} ${IB.number(p.y)}${between(p.yl, p.yh)} ${IB.unit(front.y.unit) || ""}`;

  const tooltip = (holder, svg, points, front, x, y, page, links) => {
    const tip = IB.el("div", { class: "tip", hidden: true });
    holder.append(tip);
    const ring = svg.append("circle").attr("class", "ring").attr("r", 7).attr("visibility", "hidden");
    let near = null;
    const show = (p) => {
      near = p;
      ring.attr("visibility", p ? "visible" : "hidden");
      tip.hidden = !p;
      svg.classed("pointing", Boolean(p));
      if (!p) return;
      ring.attr("cx", x(p.x)).attr("cy", y(p.y));
      tip.replaceChildren(...told(p, front).split("; ").map((text) => IB.el("div", {}, text)));
      tip.style.left = `${Math.min(x(p.x) + 12, holder.clientWidth - tip.offsetWidth - 4)}px`;
      tip.style.top = `${Math.max(0, y(p.y) - tip.offsetHeight - 10)}px`;
    };
    const tree = d3.quadtree(points, (p) => x(p.x), (p) => y(p.y));
    svg.on("pointermove", (event) => show(tree.find(...d3.pointer(event), 24) || null));
    svg.on("pointerleave", () => show(null));
    svg.on("click", (event) => {
      if (near && !event.target.closest("a")) location.assign(page(near.id));
    });
    links.on("focus", (_, p) => show(p)).on("blur", () => show(null));
  };

  /**
   * The series of each value: those most often on a front, then the most frequent ones, have a
   * colour and a shape; the others share one.
   */
  IB.seriesOf = (values, ahead) => {
    const count = (list) => d3.rollup(list, (v) => v.length, (v) => v);
    const best = count(ahead);
    const ranked = [...count(values)].sort(
      ([a, m], [b, n]) => (best.get(b) || 0) - (best.get(a) || 0) || n - m || String(a).localeCompare(String(b)),
    );
    const named = ranked.length > SERIES ? ranked.slice(0, SERIES - 1) : ranked;
    const index = new Map(named.map(([value], i) => [value, i]));
    const legend = named.map(([value, n], i) => ({ series: i, name: value ?? "not stated", n }));
    if (named.length < ranked.length) {
      const n = d3.sum(ranked.slice(named.length), ([, count]) => count);
      legend.push({ series: SERIES - 1, name: `${ranked.length - named.length} others`, n });
    }
    return { of: (value) => index.get(value) ?? SERIES - 1, legend };
  };

  IB.legend = (holder, legend) => {
    holder.replaceChildren(
      ...legend.map(({ series, name, n }) => {
        const svg = d3.create("svg").attr("width", 14).attr("height", 14).attr("viewBox", "-7 -7 14 14")
          .attr("aria-hidden", "true").attr("class", `s${series}`);
        svg.append("path").attr("d", shape(series).size(56)());
        return IB.el("li", {}, svg.node(), name, IB.el("span", { class: "count" }, n.toLocaleString("en-US")));
      }),
    );
  };

  /** Shares of samples up to a latency: `curve` is {label, x: [], share: [], marks: []}. */
  IB.distribution = (holder, curve, { log, height = 230 }) => {
    const { svg, width } = canvas(holder, described(curve), height);
    svg.attr("role", "img");
    const positive = [...curve.x, ...curve.marks.map((mark) => mark.x)].filter((value) => value > 0);
    const largest = d3.max([...curve.x, ...curve.marks.map((mark) => mark.high ?? mark.x)]);
    const x = scaleOf([log ? d3.min(positive) : 0, largest], log, [MARGIN.left, width - MARGIN.right]);
    const y = d3.scaleLinear([0, 1], [height - MARGIN.bottom, MARGIN.top]);
    axes(svg, x, y, width, height, {
      x: `${curve.label} (ms)${x.base ? " · log axis, not from zero" : ""}`,
      y: "Share at or below",
    });
    const group = svg.append("g").attr("class", "curve s0").attr("aria-hidden", "true");
    const line = d3.line((value) => x(value), (_, i) => y(curve.share[i])).defined((value) => !x.base || value > 0);
    group.append("path").attr("class", "line").attr("d", line(curve.x));
    for (const mark of curve.marks) {
      const low = mark.low !== null && x.base ? Math.max(mark.low, x.domain()[0]) : mark.low;
      if (low !== null && mark.high !== null) {
        group.append("line").attr("class", "whisker").attr("x1", x(low)).attr("x2", x(mark.high))
          .attr("y1", y(mark.share)).attr("y2", y(mark.share));
      }
      group.append("circle").attr("r", 3.5).attr("cx", x(mark.x)).attr("cy", y(mark.share));
    }
    const labels = curve.marks.filter((mark) => mark.share === 0.5 || mark.share === curve.marks.at(-1).share);
    for (const mark of labels) {
      const right = x(mark.x) > width - 150;
      svg.append("text").attr("class", "mark-label").attr("x", x(mark.x) + (right ? -9 : 9)).attr("y", y(mark.share) + (mark.share > 0.9 ? 17 : 4))
        .attr("text-anchor", right ? "end" : "start").text(`p${Number((mark.share * 100).toFixed(2))} ${IB.number(mark.x)} ms`);
    }
  };

  const described = (curve) =>
    `Distribution of ${curve.label}: ` +
    (curve.marks.map((mark) => `p${Number((mark.share * 100).toFixed(2))} ${IB.number(mark.x)} ms`).join(", ") || "no percentiles stated");

  /** Call `draw` whenever the holder's width has changed since it was last drawn. */
  IB.whenSized = (holder, draw) => {
    new ResizeObserver(([entry]) => {
      const now = Math.round(entry.contentRect.width);
      const drawn = Number(holder.dataset.width);
      if (now && now !== drawn) requestAnimationFrame(draw);
    }).observe(holder);
  };
})();
