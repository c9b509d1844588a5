// What the tests of access ask of a page, as window.access: evaluated there, so that the page's policy stays as it is.
() => {
  const options = { willReadFrequently: true };
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", options);
  const isShown = (node) => node.checkVisibility({ visibilityProperty: true });

  /** [r, g, b, alpha from 0 to 1] of a colour, however CSS writes it. */
  function read(colour) {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }

  const over = ([r, g, b, a], below) => [r, g, b].map((part, i) => part * a + below[i] * (1 - a));

  function light(colour) {
    const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  /** Of two colours, as WCAG 2 defines it: 1 to 21. */
  function contrast(one, other) {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }

  const upwards = function* (node) {
    for (let at = node; at; at = at.parentElement) yield at;
  };

  /** The colour behind an element: those of the elements around it, one over the other. */
  function behind(node) {
    const layers = [...upwards(node)].map((at) => read(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  }

  const opacity = (node) => [...upwards(node)].reduce((found, at) => found * Number(getComputedStyle(at).opacity), 1);

  /** [number of texts, [text, contrast, colour, ground] of those whose contrast is less than `least`]. */
  function contrasts(least) {
    const found = [];
    let count = 0;
    const look = (node, text, colour) => {
      if (!isShown(node) || node.closest(".unseen, :disabled, option, canvas")) return;
      count += 1;
      const ground = behind(node);
      const [r, g, b, a] = read(colour);
      const ratio = contrast(over([r, g, b, a * opacity(node)], ground), ground);
      if (ratio < least) found.push([text.trim().slice(0, 40), Math.round(ratio * 100) / 100, colour, ground.join()]);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const { data, parentElement } = walker.currentNode;
      if (data.trim()) look(parentElement, data, getComputedStyle(parentElement).color);
    }
    for (const node of document.querySelectorAll("input, textarea, select")) {
      if (node.matches("[type=radio], [type=checkbox], [type=range], [type=file]")) continue;
      look(node, node.value || "value", getComputedStyle(node).color);
      if (node.placeholder) look(node, node.placeholder, getComputedStyle(node, "::placeholder").color);
    }
    return [count, found];
  }

  let before = null;

  /** [the element with the focus, whether it follows the one before, whether it is in view, whether that is shown]. */
  function focused() {
    const node = document.activeElement;
    if (!node || node === document.body) return null;
    const follows = !before?.isConnected || before.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING;
    before = node;
    const isHidden = node.matches("input[type=radio], input[type=file]"); // shown by what is around it
    const { left, right, top, bottom, width } = (isHidden ? node.parentElement : node).getBoundingClientRect();
    const isInView = width > 0 && bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
    return [node.outerHTML.slice(0, 120), Boolean(follows), isInView, node.matches(":focus-visible")];
  }

  /** How many elements the keyboard must reach: of radio buttons one in each group. */
  function reachable() {
    const groups = new Set();
    const wanted = "a[href], button, input, select, textarea, summary, video[controls], [tabindex='0']";
    return [...document.querySelectorAll(wanted)].filter((node) => {
      if (node.disabled || !isShown(node)) return false;
      return node.type !== "radio" || (!groups.has(node.name) && groups.add(node.name));
    }).length;
  }

  /** Ids that two elements have. */
  function doubled() {
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    return ids.filter((id, i) => ids.indexOf(id) !== i);
  }

  /** Begin to note what screen readers are told. */
  function listen() {
    const place = document.getElementById("spoken");
    const noted = [];
    const note = () => noted.push(place.textContent);
    new MutationObserver(note).observe(place, { childList: true, characterData: true, subtree: true });
    return noted;
  }

  window.access = { contrasts, focused, reachable, doubled, heard: listen() };
}
