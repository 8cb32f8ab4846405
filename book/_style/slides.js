// Slides: a chapter's own blocks, one screen at a time, for a lecture. Opened by the button in the header, or by ?slides.
// No block is copied or moved, all but a few are hidden: so sliders, players and solutions work as they do on the page.
(() => {
  const article = document.querySelector("article.bd-article"), tools = document.querySelector(".article-header-buttons");
  if (!article || !tools || !/^book\/\d\d_/.test(DOCUMENTATION_OPTIONS.pagename)) return; // chapters only

  const root = document.documentElement;
  const inside = (section) => [...section.children].flatMap((e) => (e.tagName === "SECTION" ? inside(e) : e));
  const blocks = inside(article); // paragraphs, equations, cells with their outputs, ... in the order of the page
  let slides = [], at = 0, size = ""; // slides: lists of blocks; none where the page is a page

  const make = (tag, className, ...children) => {
    const element = Object.assign(document.createElement(tag), { className });
    element.append(...children);
    return element;
  };
  const button = (className, label, sign, onclick) => {
    const onmousedown = (event) => event.preventDefault(); // a click takes no focus, so that Space still means "next"
    const attributes = { type: "button", title: label, ariaLabel: label, onclick, onmousedown };
    return Object.assign(make("button", className, sign), attributes);
  };
  const head = make("div", "slides-head d-print-none"), count = Object.assign(make("span"), { ariaLive: "polite" });
  const bar = make("div", "slides-bar d-print-none",
    button("slides-back", "Previous slide", "‹", () => show(at - 1)), count,
    button("slides-next", "Next slide", "›", () => show(at + 1)), button("", "Leave the slides (Escape)", "×", leave));
  const opener = button("btn btn-sm pst-navbar-icon", "Slides", make("i", "fas fa-person-chalkboard"), () =>
    start(blocks.find((block) => block.getBoundingClientRect().bottom > 60))); // below the header: what is being read
  tools.prepend(opener);

  // Deals the blocks onto slides. All of them are laid out as they will be shown, one below the other, and measured.
  function pack() {
    root.dataset.slides = "measure";
    root.style.setProperty("--slides-fit", 1);
    blocks.forEach((block) => (block.dataset.slide = "now"));
    const height = (first, last) => last.getBoundingClientRect().bottom - first.getBoundingClientRect().top;
    const room = root.clientHeight - (root.scrollHeight - height(blocks[0], blocks.at(-1))); // less what surrounds blocks
    const leads = (a, b) => b.matches(".solution") || (a.matches("p") && /:\s*$/.test(a.textContent)); // a belongs to b
    slides = [];
    for (const block of blocks) {
      const slide = slides.at(-1), last = slide?.at(-1);
      const ends = !block.nextElementSibling || block.nextElementSibling.tagName === "SECTION";
      const fits = (first) => height(first, block) <= room * (ends ? 1.2 : 1); // rather smaller than one line left over
      if (slide?.every((b) => /^(H\d|SPAN)$/.test(b.tagName))) slide.push(block); // no slide of headings alone
      else if (!slide || block === block.parentElement.firstElementChild) slides.push([block]); // a section begins
      else if (fits(slide[0])) slide.push(block);
      else slides.push(slide[1] && leads(last, block) && fits(last) ? [slide.pop(), block] : [block]);
    }
    for (const slide of slides) { // what is too tall or too wide is made smaller within reason, the rest scrolls
      const wide = slide.flatMap((b) => [b, ...b.querySelectorAll("pre, div.math, .pst-scrollable-table-container")]);
      const ratios = wide.filter((e) => e.checkVisibility() && e.clientWidth).map((e) => e.clientWidth / e.scrollWidth);
      slide.fit = Math.max(innerWidth > 600 ? 0.6 : 1, Math.min(1, room / height(slide[0], slide.at(-1)), ...ratios));
    }
    root.dataset.slides = "on";
    size = `${root.clientWidth} ${root.clientHeight}`;
  }

  function show(number) {
    at = Math.max(0, Math.min(slides.length - 1, number));
    const slide = slides[at], section = slide[0].closest("section"), url = new URL(location);
    if (article.contains(document.activeElement)) document.activeElement.blur();
    blocks.forEach((block) => (block.dataset.slide = slide.includes(block) ? "now" : ""));
    article.querySelectorAll('[data-slide=""] audio').forEach((audio) => audio.pause());
    root.style.setProperty("--slides-fit", slide.fit);
    const headings = [section.parentElement, section].map((e) => e.querySelector(":scope > :is(h1, h2, h3)"));
    const above = headings.filter((e) => e && !slide.includes(e));
    head.replaceChildren(...above.map((e) => make("span", "", ...e.cloneNode(true).childNodes)));
    count.textContent = `${at + 1} / ${slides.length}`;
    scrollTo({ top: 0, behavior: "instant" });
    url.searchParams.set("slides", at + 1);
    url.hash = section.id;
    history.replaceState(history.state, "", url);
  }
  const showBlock = (block) => show(slides.findIndex((slide) => slide.includes(block)));

  // The number in the address, unless it lies outside what #... names: a screen of another size has other slides.
  function showAddress() {
    const target = document.getElementById(location.hash.slice(1));
    const isOn = (slide) => slide.some((block) => target.contains(block) || block.contains(target));
    const asked = parseInt(new URLSearchParams(location.search).get("slides")) || 1;
    const number = Math.max(1, Math.min(slides.length, asked)) - 1;
    show(!target || !article.contains(target) || isOn(slides[number]) ? number : slides.findIndex(isOn));
  }

  async function start(block) {
    root.dataset.slides = "measure";
    if (document.readyState !== "complete") await new Promise((done) => addEventListener("load", done));
    await window.MathJax?.startup?.promise; // now equations have their heights
    document.body.append(head, bar);
    pack();
    block ? showBlock(block) : showAddress();
  }

  function leave() {
    const url = new URL(location), [block] = slides[at];
    url.searchParams.delete("slides");
    history.replaceState(history.state, "", url);
    [head, bar].forEach((element) => element.remove());
    blocks.forEach((block) => delete block.dataset.slide);
    delete root.dataset.slides;
    root.style.removeProperty("--slides-fit");
    slides = [];
    if (at) block.scrollIntoView({ behavior: "instant" });
    opener.focus({ preventScroll: true });
  }

  const steps = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, End: 1e9, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Home: -1e9 };
  addEventListener("keydown", (event) => {
    if (!slides.length || event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const { key, target } = event, step = key === " " && event.shiftKey ? -1 : steps[key];
    if (key === "Escape") return leave();
    // A slider keeps arrows, Home and End, whatever can be pressed keeps Space; a presenter's PageUp and PageDown always move.
    if (!step || (!/Page/.test(key) && target.matches(key === " " ? "button, summary, audio" : "input"))) return;
    event.preventDefault();
    const rest = step > 0 ? root.scrollHeight - innerHeight - scrollY : scrollY; // of a slide taller than the screen
    if (/Down|Up| /.test(key) && rest > 2) scrollBy({ top: step * innerHeight * 0.8 });
    else show(at + step);
  }, true);
  addEventListener("popstate", () => slides.length && showAddress()); // a link within the page, and the way back
  addEventListener("resize", () => {
    const [block] = slides[at] ?? [];
    if (!block || size === `${root.clientWidth} ${root.clientHeight}`) return; // only a phone's address bar moved
    pack();
    showBlock(block);
  });
  if (new URLSearchParams(location.search).has("slides")) start();
})();
