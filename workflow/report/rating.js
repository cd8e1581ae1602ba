(function () {
  "use strict";
  var table = document.getElementById("rating");
  if (!table) { return; }
  var rows = Array.prototype.slice.call(table.tBodies[0].rows);

  function plain(text) { return text.replace(/[\t\r\n]+/g, " ").trim(); }
  function parts(row) {
    return { out: row.querySelector("input[type=checkbox]"), reason: row.querySelector("input.reason") };
  }
  function marked() { return rows.filter(function (row) { return parts(row).out.checked; }); }
  function tsv() {
    var lines = marked().map(function (row) {
      return [row.dataset.participant, row.dataset.session || "n/a", plain(parts(row).reason.value) || "n/a"].join("\t");
    });
    return ["participant_id\tsession_id\treason"].concat(lines).join("\n") + "\n";
  }
  function show() {
    var count = marked().length;
    document.getElementById("count").textContent =
      count === 0 ? "No scan is marked." : count === 1 ? "1 scan is marked." : count + " scans are marked.";
    document.getElementById("text").textContent = tsv();
    rows.forEach(function (row) { row.classList.toggle("out", parts(row).out.checked); });
  }
  // Some browsers keep nothing for pages from disk: then marks live as long as the page.
  function keep() {
    try { localStorage.setItem(table.dataset.key, tsv()); } catch (problem) { /* nothing is kept */ }
  }
  function recall() {
    var text = null;
    try { text = localStorage.getItem(table.dataset.key); } catch (problem) { return; }
    (text || "").split("\n").slice(1).forEach(function (line) {
      var cells = line.split("\t");
      rows.forEach(function (row) {
        if (row.dataset.participant === cells[0] && (row.dataset.session || "n/a") === cells[1]) {
          parts(row).out.checked = true;
          parts(row).reason.value = cells[2] === "n/a" ? "" : cells[2];
        }
      });
    });
  }
  table.addEventListener("input", function () { show(); keep(); });
  document.getElementById("save").addEventListener("click", function () {
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([tsv()], { type: "text/tab-separated-values" }));
    link.download = "exclude.tsv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  recall();
  show();
})();
