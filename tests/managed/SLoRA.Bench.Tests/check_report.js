// Looks at a rendered report as a reader would and answers a list of what is wrong, one line each; empty if nothing is.
(() => {
  const problems = [];
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : Math.pow((c + 0.055) / 1.055, 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const rgb = text => { const m = /^rgba?\(([\d.]+), ([\d.]+), ([\d.]+)(?:, ([\d.]+))?\)$/.exec(text); return m && m[4] !== "0" ? m.slice(1, 4).map(Number) : null; };
  const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c) return c; } return [255, 255, 255]; };
  const name = e => `${e.tagName.toLowerCase()} '${(e.textContent || "").trim().slice(0, 30)}' of '${e.closest("figure")?.querySelector("figcaption").textContent ?? "page"}'`;
  const meets = (a, b) => a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5;

  // Text: 4.5 : 1 (WCAG 2.1, AA). Marks: 3 : 1 (non-text contrast).
  for (const e of document.querySelectorAll("h1, h2, p, th, td, figcaption, li, svg text")) {
    const style = getComputedStyle(e);
    const colour = rgb(e instanceof SVGElement ? style.fill : style.color);
    if (!colour || contrast(colour, behind(e)) < 4.5) problems.push(`${name(e)}: text has too little contrast`);
    if (parseFloat(style.fontSize) < 9) problems.push(`${name(e)}: text of ${style.fontSize}`);
  }
  for (const e of document.querySelectorAll(".mark")) {
    const style = getComputedStyle(e);
    const colour = rgb(e.tagName === "polyline" ? style.stroke : style.fill);
    if (!colour || contrast(colour, behind(e)) < 3) problems.push(`${name(e)}: a mark has too little contrast`);
  }

  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) problems.push(`the page is ${document.documentElement.scrollWidth} wide in ${width}`);
  const figures = [...document.querySelectorAll("figure.plot")];
  if (figures.length < 8) problems.push(`only ${figures.length} plots`);
  for (const figure of figures) {
    const svg = figure.querySelector("svg");
    const frame = svg.getBoundingClientRect();
    const title = figure.querySelector("figcaption").textContent;
    if (frame.width < 200 || frame.height < 100) problems.push(`'${title}' is ${frame.width} by ${frame.height}`);
    if (frame.left < 0 || frame.right > width + 0.5) problems.push(`'${title}' is outside the page`);
    const marks = [...svg.querySelectorAll(".mark")].map(e => e.getBoundingClientRect());
    if (!marks.some(box => box.height > 0.5 || box.width > 0.5)) problems.push(`'${title}' is empty`);
    if (Math.max(...marks.map(box => box.bottom)) - Math.min(...marks.map(box => box.top)) < 4) problems.push(`'${title}' shows nothing but a line on the floor`);
    for (const e of svg.querySelectorAll("text, .mark")) {
      const box = e.getBoundingClientRect();
      if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5) problems.push(`${name(e)} is cut off`);
    }
    const texts = [...svg.querySelectorAll("text")];
    const boxes = texts.map(e => e.getBoundingClientRect());
    for (let i = 0; i < texts.length; i++)
      for (let j = i + 1; j < texts.length; j++)
        if (meets(boxes[i], boxes[j])) problems.push(`${name(texts[i])} meets ${name(texts[j])}`);
    const scale = frame.width / svg.viewBox.baseVal.width;
    if (Math.min(...boxes.map(box => Math.max(box.height, box.width))) < 6 * scale) problems.push(`'${title}' has text too small to read`);
    const legend = [...figure.querySelectorAll(".legend li")].map(e => e.getBoundingClientRect());
    for (let i = 0; i < legend.length; i++)
      for (let j = i + 1; j < legend.length; j++)
        if (meets(legend[i], legend[j])) problems.push(`'${title}': entries of the legend meet`);
    const colours = [...figure.querySelectorAll(".swatch")].map(e => getComputedStyle(e)).map(s => rgb(s.backgroundColor)?.join() ?? s.borderTopColor);
    if (new Set(colours).size !== colours.length) problems.push(`'${title}': two series have one colour`);
  }
  return problems.join("\n");
})()
