// Tables sort by a click on a heading and are searched by a field above; without script they are as they were.
const value = (row, at) => {
  const cell = row.cells[at];
  if (!cell) return "";
  const text = (cell.dataset.value ?? cell.textContent).trim();
  const figure = Number.parseFloat(text.replace(/[,<>%]/g, ""));
  return cell.matches(".num, [data-value]") ? (Number.isNaN(figure) ? -Infinity : figure) : text.toLowerCase();
};
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

for (const table of document.querySelectorAll("table[data-sort]")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => down * compare(value(a, at), value(b, at)));
      table.tBodies[0].append(...rows);
    });
  });
}

for (const search of document.querySelectorAll("[data-search]")) {
  const field = search.querySelector("input"), told = search.querySelector("output");
  const tables = [...search.parentElement.querySelectorAll("table[data-sort]")];
  search.hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let shown = 0;
    for (const table of tables) {
      for (const row of table.tBodies[0].rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        shown += !row.hidden;
      }
      const group = table.closest("details");
      if (group && wanted) group.open = true;
    }
    told.textContent = wanted ? `${shown} found` : "";
  });
}
