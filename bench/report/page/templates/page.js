"use strict";
(() => {
  const all = (query, inside = document) => [...inside.querySelectorAll(query)];

  // Sorting: the words of a head become a button; what has no value stays last either way.
  const key = (line, place) => {
    const cell = line.cells[place];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    return text === "" || text === "undefined" ? null : text;
  };
  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const original = [...body.rows];
    const sorted = (head, place) => {
      const lines = [...original];
      const numeric = lines.every((line) => {
        const value = key(line, place);
        return value === null || !Number.isNaN(Number(value));
      });
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const now = head.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) {
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        lines.sort((a, b) => {
          const [x, y] = [key(a, place), key(b, place)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
        });
      }
      body.append(...lines);
    };
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sorted(head, place));
    });
  };
  all("table.sortable").forEach(sortable);

  // Filtering: what belongs to a method or a class says so in data-row and data-class.
  const filter = document.getElementById("filter");
  const groups = document.getElementById("groups");
  const search = document.getElementById("search");
  const counted = document.getElementById("counted");
  const classes = new Map(
    all("#heatmap tbody tr").map((line) => [line.dataset.class, line.cells[1].textContent.trim()]),
  );
  const filtered = () => {
    const rows = new Set(all("input:checked", filter).map((box) => box.value));
    const known = new Set(all("input[type=checkbox]", filter).map((box) => box.value));
    const word = search.value.trim().toLowerCase();
    const shown = new Set(
      [...classes]
        .filter(([name, group]) => !groups.value || group === groups.value)
        .filter(([name]) => name.toLowerCase().includes(word))
        .map(([name]) => name),
    );
    all("[data-row], [data-class]").forEach((element) => {
      const { row, class: name } = element.dataset;
      const off =
        (row && known.has(row) && !rows.has(row)) || (name && classes.has(name) && !shown.has(name));
      element.classList.toggle("off", Boolean(off));
    });
    counted.textContent =
      rows.size === known.size && shown.size === classes.size
        ? ""
        : `${rows.size} of ${known.size} methods, ${shown.size} of ${classes.size} classes`;
  };
  filter.hidden = false;
  filter.addEventListener("input", filtered);
  filter.addEventListener("reset", () => setTimeout(filtered));
  filter.addEventListener("submit", (event) => event.preventDefault());
  filtered();

  // Tooltips: for pointer, keyboard and touch; Escape closes, and a pointer may enter them.
  const about = document.getElementById("about");
  let owner = null;
  let closing = 0;
  const close = () => {
    about.hidden = true;
    owner?.removeAttribute("aria-describedby");
    owner = null;
  };
  const open = (number) => {
    clearTimeout(closing);
    if (number === owner) return;
    close();
    if (number.title) {
      number.dataset.about = number.title;
      number.removeAttribute("title");
    }
    owner = number;
    about.replaceChildren(
      ...number.dataset.about.split("\n").map((text) => {
        const line = document.createElement("p");
        const [, start, command] = /^(\w+ again: |Records: )(.*)$/.exec(text) ?? [];
        if (command) {
          const code = document.createElement("code");
          code.textContent = command;
          line.append(start, code);
        } else {
          line.textContent = text;
        }
        return line;
      }),
    );
    about.hidden = false;
    number.setAttribute("aria-describedby", "about");
    place();
  };
  const place = () => {
    const box = owner.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, box.left), wide - about.offsetWidth - 8);
    const below = box.bottom + 6 + about.offsetHeight < window.innerHeight;
    const top = below ? box.bottom + 6 : Math.max(8, box.top - 6 - about.offsetHeight);
    about.style.left = `${Math.max(8, left)}px`;
    about.style.top = `${top}px`;
  };
  const soon = () => {
    clearTimeout(closing);
    closing = setTimeout(close, 150);
  };
  document.addEventListener("pointerover", (event) => {
    const number = event.target.closest?.("a.n");
    if (number) open(number);
    else if (about.contains(event.target)) clearTimeout(closing);
    else if (owner && owner !== document.activeElement) soon();
  });
  document.addEventListener("focusin", (event) => {
    const number = event.target.closest("a.n");
    if (number) open(number);
    else close();
  });
  document.addEventListener("focusout", soon);
  const followed = () => {
    if (owner?.matches(":hover, :focus")) place();
    else close();
  };
  document.addEventListener("scroll", followed, { capture: true, passive: true });

  // One stop a table on the way of the Tab key; arrows go from number to number.
  const numbersOf = (table) => all("a.n", table).filter((number) => number.offsetParent);
  all("table").forEach((table) => {
    all("a.n", table).forEach((number, place) => (number.tabIndex = place ? -1 : 0));
    table.addEventListener("focusin", (event) => {
      if (!event.target.matches("a.n")) return;
      all("a.n[tabindex='0']", table).forEach((number) => (number.tabIndex = -1));
      event.target.tabIndex = 0;
    });
  });
  const step = { ArrowLeft: -1, ArrowRight: 1 };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    const number = event.target.closest?.("a.n");
    if (!number) return;
    const numbers = numbersOf(number.closest("table"));
    let next = null;
    if (event.key in step) {
      next = numbers[numbers.indexOf(number) + step[event.key]];
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const lines = all("tbody tr", number.closest("table")).filter((line) => line.offsetParent);
      const way = event.key === "ArrowUp" ? -1 : 1;
      const line = lines[lines.indexOf(number.closest("tr")) + way];
      next = line?.cells[number.closest("td, th").cellIndex]?.querySelector("a.n");
    }
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });

  // Paper has no disclosure triangles: notes are printed open, what was closed closes again.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = all("details.notes:not([open])");
    opened.forEach((details) => (details.open = true));
  });
  window.addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));
})();
