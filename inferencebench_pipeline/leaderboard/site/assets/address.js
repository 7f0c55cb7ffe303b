// The view as the address says it: #group=…&q=…&model=…&sort=…; and back again.
"use strict";

(() => {
  const COLOURS = ["model", "engine", "hardware", "quantization", "load"];

  /** The view that the address asks for. Unknown names and nonsense are left out. */
  IB.readAddress = (facets) => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const filters = {};
    for (const name of facets) {
      const values = asked.getAll(name);
      if (values.length) filters[name] = [...new Set(values)];
    }
    const sort = /^([\w.:-]+)\.(asc|desc)$/.exec(asked.get("sort") || "");
    const page = Number(asked.get("page"));
    const colour = asked.get("colour");
    return {
      group: asked.get("group"),
      q: asked.get("q") || "",
      filters,
      sort: sort ? { id: sort[1], desc: sort[2] === "desc" } : null,
      page: Number.isInteger(page) && page > 1 ? page : 1,
      colour: COLOURS.includes(colour) ? colour : null,
      log: asked.get("log") === "1",
    };
  };

  /** The fragment that restores a view; what is as at first is not in it. */
  IB.writeAddress = (view) => {
    const said = new URLSearchParams();
    if (view.group) said.set("group", view.group);
    if (view.q) said.set("q", view.q);
    for (const [name, values] of Object.entries(view.filters)) {
      for (const value of values) said.append(name, value);
    }
    if (view.sort) said.set("sort", `${view.sort.id}.${view.sort.desc ? "desc" : "asc"}`);
    if (view.page > 1) said.set("page", view.page);
    if (view.colour) said.set("colour", view.colour);
    if (view.log) said.set("log", "1");
    return `#${said}`;
  };
})();
