"""A list at the end of each page that saves its charts as SVG files, filled in the browser.

Streamlit's own chart menu saves only bitmaps. The script copies what is already drawn; the only text it shows
is a chart's description, inserted as text, not as HTML.
"""

from __future__ import annotations

import streamlit as st

HTML = """<details><summary>Save a chart as SVG</summary><ul></ul></details>"""

CSS = """
details {font-family: var(--st-font); font-size: .85rem; color: var(--st-text-color);}
summary {cursor: pointer; opacity: .65; padding: .2rem 0;}
summary:focus-visible, button:focus-visible {outline: 2px solid var(--st-primary-color); outline-offset: 2px;}
ul {list-style: none; margin: .3rem 0; padding: 0;}
button {font: inherit; color: inherit; background: none; border: 0; padding: .25rem 0; cursor: pointer;
  text-align: left; text-decoration: underline; text-underline-offset: 3px;}
button:disabled {opacity: .5; cursor: default; text-decoration: none;}
"""

JS = """
export default function (component) {
  const details = component.parentElement.querySelector("details");
  const list = details.querySelector("ul");
  const save = (svg, words) => {
    const copy = svg.cloneNode(true);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("role", "img");
    copy.setAttribute("aria-label", words);
    const text = new XMLSerializer().serializeToString(copy);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "image/svg+xml"}));
    link.download = words.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60).replace(/^-|-$/g, "") + ".svg";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const fill = () => {
    list.replaceChildren();
    for (const chart of document.querySelectorAll('[data-testid="stVegaLiteChart"]')) {
      const words = chart.getAttribute("aria-label") || "chart";
      const button = document.createElement("button");
      const svg = chart.querySelector("svg.marks");
      button.type = "button";
      button.textContent = svg ? words : words + " (too many points for SVG: save it as PNG)";
      button.disabled = !svg;
      button.addEventListener("click", () => save(svg, words));
      const item = document.createElement("li");
      item.append(button);
      list.append(item);
    }
  };
  const onToggle = () => { if (details.open) fill(); };
  details.addEventListener("toggle", onToggle);
  return () => details.removeEventListener("toggle", onToggle);
}
"""

SAVER = st.components.v2.component("gaitforge_save_charts", html=HTML, css=CSS, js=JS)


def show_save_charts() -> None:
    SAVER(key="save_charts")
