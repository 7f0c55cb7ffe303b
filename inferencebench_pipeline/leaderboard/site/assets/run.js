// A run's page: how its latencies are distributed, drawn from the data block in the page.
"use strict";

(() => {
  const curves = JSON.parse(document.getElementById("curves").textContent);
  const log = document.getElementById("log");
  document.getElementById("figure").hidden = false;
  for (const curve of curves) {
    const holder = IB.el("div", { class: "plot" });
    const count = curve.n === null ? "" : `${curve.n.toLocaleString("en-US")} samples`;
    const caption = IB.el("figcaption", {}, IB.el("h3", {}, curve.label), IB.el("p", { class: "note" }, count));
    document.getElementById("distributions").append(IB.el("figure", {}, caption, holder));
    const draw = () => IB.distribution(holder, curve, { log: log.checked });
    log.addEventListener("change", draw);
    IB.whenSized(holder, draw);
  }
  document.documentElement.setAttribute("data-ready", "1");
})();
