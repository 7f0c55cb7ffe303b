// The board's data: columns of data/runs-*.js, and of data/group-*.js loaded when it is looked at.
"use strict";
self.IB = self.IB || {};

(() => {
  const waiting = new Map();

  /** The content of data/runs-*.js, decoded: `value(name, i)` is run i's value in a column, or null. */
  IB.decode = (text) => {
    const board = JSON.parse(text);
    board.position = new Map(board.ids.map((id, i) => [id, i]));
    board.value = (name, i) => {
      const column = board.columns[name];
      const at = column.index[i];
      return at < 0 ? null : column.values[at];
    };
    board.page = (id) => `runs/${id.slice(0, 2)}/${id}.html`;
    return board;
  };

  /** data/group-*.js call this. */
  self.IB_GROUP = (id, text) => {
    const group = JSON.parse(text);
    waiting.get(id)?.(group);
  };

  const loaded = new Map();

  /** Load one comparison group's ranks, metrics and fronts; fetch() cannot read files. */
  IB.loadGroup = (summary) => {
    if (!loaded.has(summary.id)) {
      loaded.set(
        summary.id,
        new Promise((resolve, reject) => {
          waiting.set(summary.id, resolve);
          const script = document.createElement("script");
          script.src = summary.file;
          script.onerror = () => reject(new Error(`${summary.file} is missing`));
          document.head.append(script);
        }),
      );
    }
    return loaded.get(summary.id);
  };

  /** A number for reading: about four significant digits, thousands separated. */
  IB.number = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size >= 1e15) return value.toExponential(3);
    if (Number.isInteger(value) || size >= 1000) return Math.round(value).toLocaleString("en-US");
    if (size >= 100) return value.toFixed(1);
    return size >= 1 ? value.toFixed(2) : String(Number(value.toPrecision(3)));
  };

  /** An element with attributes and children; strings become text, never markup. */
  IB.el = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };

  IB.unit = (unit) => (unit && unit !== "ratio" ? unit : null);
})();
