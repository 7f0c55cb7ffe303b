// The filtered view as CSV, which a spreadsheet opens without running anything in it.
"use strict";

(() => {
  // A spreadsheet takes text that begins like this for a formula, some after a blank or a quote.
  const FORMULA = /^[\s"']*[=+\-@\t\r\n|%＝＋－＠]/u;

  const field = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = FORMULA.test(value) ? `'${value}` : value;
    return `"${text.replaceAll('"', '""')}"`;
  };

  /** RFC 4180 text of a heading and rows; numbers stay numbers, text is always quoted. */
  IB.csv = (heading, rows) =>
    [heading, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";

  /** Hand a text to the reader as a file. */
  IB.download = (name, text) => {
    const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
    const link = IB.el("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
})();
