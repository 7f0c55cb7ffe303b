// Sorting and filtering of the tables. Without it the page shows the same rows, best first.
"use strict";

function key(row, column) {
  const cell = row.cells[column];
  if (cell.classList.contains("number")) {
    return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  }
  return cell.textContent.trim().toLowerCase();
}

function sort(table, header, direction) {
  const column = header.cellIndex;
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // no value: always last
    return a < b ? -sign : a > b ? sign : 0;
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    if (header.classList.contains("plain")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const now = header.getAttribute("aria-sort");
      const first = header.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      sort(table, header, now === first ? other : first);
    });
  }
}

const filter = document.getElementById("filter");
filter.parentElement.hidden = false;
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of document.querySelectorAll("section.group")) {
    let here = 0;
    for (const row of section.querySelectorAll("tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      here += row.hidden ? 0 : 1;
    }
    section.hidden = here === 0;
    shown += here;
  }
  document.getElementById("filtered").textContent = words.length
    ? `${shown} ${shown === 1 ? "row matches" : "rows match"}`
    : "";
});
