// Looks at what is visible: {texts: how many were looked at, faults: [what is wrong, and where]}.
() => {
  const faults = [];
  const visible = (node) => node.checkVisibility({ visibilityProperty: true }) && node.getClientRects().length > 0;
  const name = (node) => node.outerHTML.replace(/\s+/g, " ").slice(0, 100);
  const parse = (color) => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return { channels: [red, green, blue], alpha };
  };
  const luminance = (channels) => {
    const [red, green, blue] = channels.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const { channels, alpha } = parse(getComputedStyle(one).backgroundColor);
      if (alpha === 1) return channels;
      if (alpha > 0) throw new Error(`half transparent: ${name(one)}`);
    }
    throw new Error("no background");
  };

  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !visible(node) || node.closest(".unseen, option")) continue;
    texts += 1;
    const ratio = contrast(parse(getComputedStyle(node).color).channels, behind(node));
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${name(node)}`);
  }

  const controls = "button, input, select, textarea, a[href], summary, [role=tab]";
  for (const node of [...document.querySelectorAll(controls)].filter(visible)) {
    const said = node.getAttribute("aria-label") ?? (node.labels?.length ? node.labels[0].textContent : node.textContent);
    const field = node.matches("input, select, textarea");
    if (!said.trim() || (field && !node.labels.length && !node.getAttribute("aria-label"))) faults.push(`no name: ${name(node)}`);
    const { width, height } = node.getBoundingClientRect();
    if (!node.matches("a") && Math.min(width, height) < 24) faults.push(`${width} x ${height}: ${name(node)}`);
    if (field && node.type !== "range") {
      const style = getComputedStyle(node);
      const ratio = contrast(parse(style.borderTopColor).channels, behind(node));
      if (ratio < 3) faults.push(`border ${ratio.toFixed(2)}: ${name(node)}`);
    }
  }

  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  faults.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `twice: ${id}`));
  for (const attribute of ["aria-controls", "aria-labelledby", "aria-describedby", "for"]) {
    for (const node of document.querySelectorAll(`[${attribute}]`)) {
      if (!document.getElementById(node.getAttribute(attribute))) faults.push(`${attribute} leads nowhere: ${name(node)}`);
    }
  }
  const levels = [...document.querySelectorAll("h1, h2, h3")].filter(visible).map((node) => Number(node.tagName[1]));
  if (levels[0] !== 1) faults.push("the first heading is not the page's");
  if (document.documentElement.lang !== "en") faults.push("no language");
  return { texts, faults };
}
