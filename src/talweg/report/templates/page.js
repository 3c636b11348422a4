(function () {
  "use strict";
  var root = document.documentElement;
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var plots = Array.prototype.slice.call(document.querySelectorAll("[data-figure]"));
  var button = document.getElementById("theme");
  var wishes = window.matchMedia("(prefers-color-scheme: dark)");
  var narrow = window.matchMedia("(max-width: 40rem)");
  var touch = window.matchMedia("(pointer: coarse)").matches;

  function dark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : wishes.matches;
  }

  // "@1/0.2" is the page's colour --1 at that opacity.
  function colour(name) {
    var parts = name.slice(1).split("/");
    var value = getComputedStyle(root).getPropertyValue("--" + parts[0]).trim();
    if (parts.length === 1) { return value; }
    var hex = value.slice(1);
    if (hex.length === 3) { hex = hex.replace(/./g, "$&$&"); }
    var rgb = [0, 2, 4].map(function (i) { return parseInt(hex.slice(i, i + 2), 16); });
    return "rgba(" + rgb.join(",") + "," + parts[1] + ")";
  }

  function coloured(value) {
    if (typeof value === "string") {
      return /^@[a-z0-9]+(\/[0-9.]+)?$/.test(value) ? colour(value) : value;
    }
    if (Array.isArray(value)) { return value.map(coloured); }
    if (value && typeof value === "object") {
      var made = {};
      Object.keys(value).forEach(function (key) { made[key] = coloured(value[key]); });
      return made;
    }
    return value;
  }

  function merged(base, more) {
    var made = Object.assign({}, base);
    Object.keys(more).forEach(function (key) {
      var both = made[key] && more[key] && typeof made[key] === "object"
        && typeof more[key] === "object" && !Array.isArray(more[key]);
      made[key] = both ? merged(made[key], more[key]) : more[key];
    });
    return made;
  }

  // A label for every power of ten, or for every second or third of them, where there are several.
  function decades(figure) {
    var sizes = [];
    figure.traces.forEach(function (trace) {
      if (trace.yaxis === "y2") { return; }
      trace.y.forEach(function (y) { if (y > 0) { sizes.push(Math.log10(y)); } });
    });
    var span = sizes.reduce(function (a, b) { return Math.max(a, b); }, -Infinity)
      - sizes.reduce(function (a, b) { return Math.min(a, b); }, Infinity);
    return span > 1.3 ? { dtick: Math.ceil(span / 6) } : {};
  }

  function draw(plot, width) {
    var figure = coloured(figures[plot.dataset.figure]);
    var axis = {
      gridcolor: colour("@grid"), zerolinecolor: colour("@grid"), linecolor: colour("@edge"),
      automargin: true, title: { standoff: 8 }, nticks: 7
    };
    var layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("@text"), size: 12, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 8, r: 12, t: 8, b: 8 },
      height: Number(plot.dataset.height),
      hovermode: "x unified", dragmode: touch ? false : "zoom",
      hoverlabel: { bgcolor: colour("@sheet"), bordercolor: colour("@edge"), font: { color: colour("@text") } },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", font: { size: 12 } }
    };
    ["xaxis", "yaxis", "yaxis2"].forEach(function (name) {
      if (name !== "yaxis2" || figure.layout[name]) { layout[name] = axis; }
    });
    layout = merged(layout, figure.layout);
    if (narrow.matches && layout.yaxis2) { delete layout.yaxis2.ticktext; }
    if (narrow.matches && layout.yaxis.ticktext) {
      layout.yaxis.ticktext = layout.yaxis.ticktext.map(function (name) {
        return name.length > 12 ? "\u2026" + name.slice(-11) : name;
      });
    }
    if (layout.yaxis.type === "log") { layout.yaxis = merged(layout.yaxis, decades(figure)); }
    layout.autosize = !width;
    if (width) { layout.width = width; }
    return Plotly.react(plot, figure.traces, layout, {
      responsive: true, displayModeBar: false
    });
  }

  function drawAll(width) {
    button.setAttribute("aria-pressed", String(dark()));
    return Promise.all(plots.map(function (plot) { return draw(plot, width); }));
  }

  button.hidden = false;
  button.addEventListener("click", function () {
    root.dataset.theme = dark() ? "light" : "dark";
    drawAll();
  });
  wishes.addEventListener("change", function () { drawAll(); });
  narrow.addEventListener("change", function () { drawAll(); });

  // On paper: light, and as wide as a page of A4 or Letter allows.
  var before;
  window.addEventListener("beforeprint", function () {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    drawAll(660);
  });
  window.addEventListener("afterprint", function () {
    if (before) { root.dataset.theme = before; } else { delete root.dataset.theme; }
    drawAll();
  });

  drawAll().then(function () {
    // Where plotly measures text; it is out of sight, and must be out of hearing too.
    var tester = document.getElementById("js-plotly-tester");
    if (tester) { tester.setAttribute("aria-hidden", "true"); }
    root.dataset.drawn = String(plots.length);
  });
}());
