"use strict";
(async () => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  for (const [name, item] of Object.entries(figures)) {
    await Bokeh.embed.embed_item(item, `figure-${name}`);
  }
  const named = (name) => Bokeh.documents.map((d) => d.get_model_by_name(name)).find(Boolean);
  const map = named("map");

  for (const box of document.querySelectorAll("[data-layer]")) {
    const show = () => {
      for (const name of box.dataset.layer.split(" ")) {
        const layer = named(name);
        if (layer) layer.visible = box.checked;
      }
    };
    box.addEventListener("change", show);
    show();  // a browser may have kept what was chosen before a reload
  }
  for (const slider of document.querySelectorAll("[data-alpha]")) {
    const set = () => { named(slider.dataset.alpha).glyph.global_alpha = {value: Number(slider.value)}; };
    slider.addEventListener("input", set);
    set();
  }

  // Moves the map to a box with a little around it, a unit of x beside one of y as it was.
  const show = (left, bottom, right, top) => {
    const scale = map.aspect_scale ?? 1;
    const wanted = Math.max((right - left) * scale / map.inner_width, (top - bottom) / map.inner_height);
    const halfWidth = 0.525 * wanted * map.inner_width / scale;
    const halfHeight = 0.525 * wanted * map.inner_height;
    const x = (left + right) / 2, y = (bottom + top) / 2;
    // Or they would follow the data again as soon as a layer is shown or hidden.
    map.x_range.have_updated_interactively = map.y_range.have_updated_interactively = true;
    map.x_range.setv({start: x - halfWidth, end: x + halfWidth});
    map.y_range.setv({start: y - halfHeight, end: y + halfHeight});
  };
  for (const button of document.querySelectorAll("[data-box]")) {
    button.addEventListener("click", () => {
      show(...button.dataset.box.split(" ").map(Number));
      document.getElementById("map-title").scrollIntoView();
    });
  }

  const where = document.getElementById("where");
  const digits = Math.abs(map.x_range.end - map.x_range.start) < 100 ? 5 : 1;
  map.on_event("mousemove", (event) => {
    where.textContent = `${event.x.toFixed(digits)}, ${event.y.toFixed(digits)}`;
  });
  document.documentElement.dataset.drawn = "yes";
})();
