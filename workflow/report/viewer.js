// Keyboard, words and peaks for nilearn's viewer, which is driven by the mouse alone.
window.addEventListener("load", function () {
  "use strict";
  // The viewer is made in a handler of the same event: wait until that has run.
  window.setTimeout(function start() {
    var brain = window.brain;
    var canvas = document.getElementById("3Dviewer");
    if (!brain || !brain.nbSlice || !brain.nbSlice.X) { window.setTimeout(start, 50); return; }
    var axes = ["X", "Y", "Z"];
    var status = document.getElementById("place");

    // brainsprite's affine takes slices that are counted from 1, while numSlice is counted from 0.
    function world() {
      var a = brain.affine, n = brain.numSlice;
      return a.slice(0, 3).map(function (row) {
        return row[0] * (n.X + 1) + row[1] * (n.Y + 1) + row[2] * (n.Z + 1) + row[3];
      });
    }
    function tell() {
      var place = world().map(function (v) { return Math.round(v); });
      status.textContent = "x = " + place[0] + ", y = " + place[1] + ", z = " + place[2] + " mm";
    }
    function show(indices) {
      axes.forEach(function (axis, k) {
        brain.numSlice[axis] = Math.max(0, Math.min(brain.nbSlice[axis] - 1, Math.round(indices[k])));
      });
      brain.coordinatesSlice = { X: world()[0], Y: world()[1], Z: world()[2] };
      brain.drawAll();
      tell();
    }
    function move(axis, step) {
      var now = [brain.numSlice.X, brain.numSlice.Y, brain.numSlice.Z];
      now[axis] = Math.round(now[axis]) + step;
      show(now);
    }
    function goTo(place) {
      // The embedded grid is straight, so each axis can be solved for on its own.
      var a = brain.affine;
      show([0, 1, 2].map(function (k) { return (place[k] - a[k][3]) / a[k][k] - 1; }));
    }

    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", document.title + ", three cuts through the crosshair");
    canvas.setAttribute("aria-describedby", "help place");
    var keys = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 1], ArrowDown: [1, -1],
                 PageUp: [2, 1], PageDown: [2, -1] };
    canvas.addEventListener("keydown", function (event) {
      if (keys[event.key]) { move.apply(null, keys[event.key]); event.preventDefault(); }
    });
    canvas.addEventListener("click", tell);
    document.querySelectorAll("button[data-place]").forEach(function (button) {
      button.addEventListener("click", function () { goTo(button.dataset.place.split(" ").map(Number)); });
    });
    tell();
    document.documentElement.dataset.viewer = "ready";
  }, 0);
});
