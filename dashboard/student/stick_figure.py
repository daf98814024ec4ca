"""A player that shows a recording's joints as a moving stick figure, drawn in the browser as SVG.

The component's markup, style and script are constants of this file. Only numbers are sent to it, so no text
of a work folder can become part of the page.
"""

from __future__ import annotations

import zlib

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gaitforge.layout import Layout
from gaitforge.recording import Recording

Numbers = dict[str, int | float | list[int]]

MOST_FRAMES = 1500  # of a longer recording every second, third ... is drawn
UNIT = 1000  # whole numbers to a body: about 2 mm
MISSING = -32768
MIDDLE, LEFT, RIGHT = 0, 1, 2
NO_FRAME_RATE_S = 3.0  # how long a recording without a frame rate (a normalised stride) plays


def make_figure(recording: Recording, layout: Layout, min_confidence: float = 0.0) -> Numbers:
    """Convert a recording to the numbers that the player draws: joints right, up and towards the viewer.

    Lengths are whole numbers, UNIT to a body; a body is the greatest extent of the joints about their root. `yaw`
    (radians) turns a figure in space to face the viewer, by its left and right joints; a flat recording stays as
    it was seen. Of a recording longer than MOST_FRAMES only every second, third ... frame is used.

    Raises ValueError for a layout without an up axis.
    """
    if layout.up_axis is None:
        raise ValueError(f"Layout '{layout.name}' has no up axis, so nothing of it can stand.")
    xyz_TVC = _right_up_near(recording, layout, min_confidence)
    step = -(-len(xyz_TVC) // MOST_FRAMES)
    xyz_TVC = xyz_TVC[::step]
    root_TC = _root(xyz_TVC, layout)
    about_TVC = xyz_TVC - root_TC[:, None]
    extent_C = _spread(about_TVC.reshape(-1, 3))
    body = float(max(extent_C.max(), 1e-9))
    floor = float(np.nanpercentile(xyz_TVC[..., 1], 2))
    origin_C = np.array([np.median(root_TC[:, 0]), floor, np.median(root_TC[:, 2])])
    is_deep = recording.positions_TVC.shape[2] > 2
    fps = recording.fps / step if recording.fps else len(xyz_TVC) / NO_FRAME_RATE_S
    numbers: Numbers = {
        "frames": len(xyz_TVC),
        "joints": layout.joint_count,
        "deep": int(is_deep),
        "fps": round(float(fps), 4),
        "timed": int(recording.fps is not None),
        "yaw": round(_yaw(about_TVC, layout), 4) if is_deep else 0.0,
        "height": round(float(extent_C[1]) / body, 4),
        "travel": round(float(np.hypot(*_spread(root_TC)[[0, 2]])) / body, 4),
        "at": _whole((xyz_TVC - origin_C) / body),
        "root": _whole((root_TC - origin_C) / body),
        "bones": [joint for bone in layout.bones for joint in bone],
        "sides": _sides(layout),
    }
    # the player goes on where it was as long as it is given the same movement
    return {**numbers, "id": zlib.crc32(np.array(numbers["at"], dtype=np.int32).tobytes())}


def _right_up_near(
    recording: Recording, layout: Layout, min_confidence: float
) -> NDArray[np.float64]:
    """Turn joints to right-handed axes with the second one up [T, V, 3]; NaN for a missing joint, depth 0 if flat."""
    positions_TVC = recording.positions_TVC.astype(np.float64)
    positions_TVC[~recording.seen_TV(min_confidence)] = np.nan
    up = layout.up_axis or 0
    xyz_TVC = np.zeros((*positions_TVC.shape[:2], 3))
    if positions_TVC.shape[2] > 2:
        # what points down is turned over, with the axis towards the viewer: left stays left
        signs_C = [1, layout.up_sign, layout.up_sign]
        return positions_TVC[..., [(up - 1) % 3, up, (up + 1) % 3]] * signs_C
    height = min(up, 1)
    xyz_TVC[..., 0] = positions_TVC[..., 1 - height]
    xyz_TVC[..., 1] = positions_TVC[..., height] * layout.up_sign
    xyz_TVC[..., 2] = np.where(np.isnan(xyz_TVC[..., 0]), np.nan, 0.0)
    return xyz_TVC


def _root(xyz_TVC: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Return the middle of the root joints [T, 3], or of all joints if no root joint is seen.

    A frame without any joint has the middle of the last frame before it that has one, else of the first.
    """
    seen_TV = ~np.isnan(xyz_TVC[..., 0])
    root_TC = np.full((len(xyz_TVC), 3), np.nan)
    for joints in (list(layout.root), list(range(layout.joint_count))):
        lacks_T = np.isnan(root_TC[:, 0]) & seen_TV[:, joints].any(axis=1)
        root_TC[lacks_T] = np.nanmean(xyz_TVC[lacks_T][:, joints], axis=1)
    known_N = np.flatnonzero(~np.isnan(root_TC[:, 0]))
    last_T = np.searchsorted(known_N, np.arange(len(root_TC)), side="right") - 1
    filled_TC: NDArray[np.float64] = root_TC[known_N[np.maximum(last_T, 0)]]
    return filled_TC


def _spread(points_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure how far points reach along each axis [C], without the outermost 1 % at either end."""
    low_C, high_C = np.nanpercentile(points_NC, [1, 99], axis=0)
    spread_C: NDArray[np.float64] = np.nan_to_num(high_C - low_C)
    return spread_C


def _yaw(about_TVC: NDArray[np.float64], layout: Layout) -> float:
    """Find the turn about the up axis, in radians, that brings the left joints to the viewer's right."""
    if not layout.left_right:
        return 0.0
    left, right = zip(*layout.left_right, strict=True)
    apart_C = np.nansum(about_TVC[:, list(left)] - about_TVC[:, list(right)], axis=(0, 1))
    return float(np.arctan2(apart_C[2], apart_C[0]))


def _sides(layout: Layout) -> list[int]:
    sides = [MIDDLE] * layout.joint_count
    for left, right in layout.left_right:
        sides[left], sides[right] = LEFT, RIGHT
    return sides


def _whole(values: NDArray[np.float64]) -> list[int]:
    limited = np.clip(np.round(values * UNIT), MISSING + 1, -MISSING - 1)
    return np.where(np.isnan(values), MISSING, limited).astype(int).ravel().tolist()


HTML = """
<div class="player">
  <div class="stage">
    <svg class="figure" tabindex="0" role="img" viewBox="-1.3 -1.15 2.6 1.35"
      aria-label="The recording as a moving stick figure"></svg>
    <p class="sides"><span class="left">left</span><span class="right">right</span></p>
  </div>
  <div class="bar">
    <button class="play" type="button">Play</button>
    <input class="scrub" type="range" min="0" step="1" value="0" aria-label="Frame">
    <output class="time"></output>
  </div>
  <div class="bar options">
    <span class="views" role="group" aria-label="View">
      <button class="front" type="button">Front</button>
      <button class="side" type="button">Side</button>
      <button class="back" type="button">Back</button>
    </span>
    <label>Speed <select class="speed" aria-label="Speed">
      <option value="0.25">0.25 x</option><option value="0.5">0.5 x</option>
      <option value="1" selected>1 x</option><option value="2">2 x</option>
    </select></label>
    <label class="stays"><input class="follow" type="checkbox" checked> Walk on the spot</label>
    <span class="hint">Drag it, or use the arrow keys, to turn it.</span>
  </div>
</div>
"""

CSS = """
.player {font-family: var(--st-font); color: var(--st-text-color); font-size: .875rem;}
.stage {position: relative; border-radius: .5rem; background: var(--st-secondary-background-color);}
.figure {display: block; width: 100%; height: 380px; touch-action: pan-y; border-radius: .5rem;}
.figure.deep {cursor: grab;} .figure.deep:active {cursor: grabbing;}
.bone {stroke-width: 2.6; stroke-linecap: round; vector-effect: non-scaling-stroke;}
.s0 {stroke: var(--st-text-color); fill: var(--st-text-color); opacity: .62;}
.s1 {stroke: #3572c6; fill: #3572c6;} .s2 {stroke: #dd6a1f; fill: #dd6a1f;}
.joint {stroke: none;}
.ground {stroke: var(--st-text-color); opacity: .22; stroke-width: 1; vector-effect: non-scaling-stroke;
  fill: none;}
.sides {position: absolute; right: .9rem; top: .6rem; margin: 0; display: flex; gap: .9rem;}
.sides span::before {content: ""; display: inline-block; width: .9rem; height: .2rem; border-radius: 1px;
  margin-right: .35rem; vertical-align: middle;}
.left::before {background: #3572c6;} .right::before {background: #dd6a1f;}
.bar {display: flex; flex-wrap: wrap; align-items: center; gap: .6rem .9rem; margin-top: .6rem;}
.scrub {flex: 1; min-width: 8rem; accent-color: #3572c6; height: 1.4rem;}
.time {min-width: 7.5rem; text-align: right; font-variant-numeric: tabular-nums;}
button, select {font: inherit; color: inherit; background: transparent; cursor: pointer; min-height: 2rem;
  border: 1px solid color-mix(in srgb, var(--st-text-color) 28%, transparent); border-radius: .4rem;
  padding: .2rem .7rem;}
select option {color: #1b1f26; background: #fff;}
.play {min-width: 4.6rem; font-weight: 600;}
button:hover, select:hover {border-color: var(--st-text-color);}
button:focus-visible, select:focus-visible, input:focus-visible, .figure:focus-visible {
  outline: 2px solid #3572c6; outline-offset: 2px;}
.views {display: inline-flex; gap: .3rem;}
label {display: inline-flex; align-items: center; gap: .4rem;}
.hint {opacity: .65;}
[hidden] {display: none !important;}
"""

JS = """
const SVG = "http://www.w3.org/2000/svg";
const UNIT = 1000, MISSING = -32768, TURN = Math.PI / 18;

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement;
  if (root.player && root.player.id === data.id) return root.player.stop;
  const before = root.player;
  if (before) before.stop();
  root.player = start(root, data, before);
  return root.player.stop;
}

function start(root, data, before) {
  const find = (name) => root.querySelector("." + name);
  const [figure, scrub, play, time] = ["figure", "scrub", "play", "time"].map(find);
  const [speed, follow] = ["speed", "follow"].map(find);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const deep = data.deep === 1, ended = new AbortController(), own = { signal: ended.signal };
  const state = {
    frame: 0, yaw: data.yaw + (before ? before.turned() : 0),
    plays: before ? before.plays() : !still.matches, last: null, request: 0,
  };
  const lines = [], dots = [];

  figure.replaceChildren();
  const ground = add("line", "ground");
  for (let k = 0; k < data.bones.length; k += 2) {
    const [a, b] = [data.bones[k], data.bones[k + 1]];
    const side = data.sides[a] === data.sides[b] ? data.sides[a] : Math.max(data.sides[a], data.sides[b]);
    lines.push([add("line", "bone s" + side), a, b]);
  }
  for (let v = 0; v < data.joints; v++) {
    const dot = add("circle", "joint s" + data.sides[v]);
    dot.setAttribute("r", 0.014);
    dots.push(dot);
  }
  figure.classList.toggle("deep", deep);
  find("views").hidden = find("hint").hidden = !deep;
  find("sides").hidden = !data.sides.some((side) => side > 0);
  find("stays").hidden = data.travel < 0.3;
  scrub.max = data.frames - 1;

  function add(kind, classes) {
    const element = document.createElementNS(SVG, kind);
    element.setAttribute("class", classes);
    figure.append(element);
    return element;
  }

  // a place on the stage: the figure turned about the up axis, and moved to the middle where it stays
  function place(v, frame) {
    const at = 3 * (frame * data.joints + v);
    if (data.at[at] === MISSING) return null;
    const moves = !follow.checked && data.travel >= 0.3;
    const x = data.at[at] - (moves ? 0 : data.root[3 * frame]);
    const z = data.at[at + 2] - (moves ? 0 : data.root[3 * frame + 2]);
    const scale = Math.min(moves ? Math.min(1, 2.3 / (data.travel + 1)) : 1, 1.05 / Math.max(data.height, 0.1)) / UNIT;
    const across = x * Math.cos(state.yaw) + z * Math.sin(state.yaw);
    return [across * scale, -data.at[at + 1] * scale];
  }

  function draw() {
    const frame = Math.floor(state.frame);
    const places = dots.map((_, v) => place(v, frame));
    dots.forEach((dot, v) => {
      dot.style.display = places[v] ? "" : "none";
      if (places[v]) { dot.setAttribute("cx", places[v][0]); dot.setAttribute("cy", places[v][1]); }
    });
    for (const [line, a, b] of lines) {
      const seen = places[a] && places[b];
      line.style.display = seen ? "" : "none";
      if (!seen) continue;
      line.setAttribute("x1", places[a][0]); line.setAttribute("y1", places[a][1]);
      line.setAttribute("x2", places[b][0]); line.setAttribute("y2", places[b][1]);
    }
    for (const [name, value] of [["x1", -1.25], ["x2", 1.25], ["y1", 0.02], ["y2", 0.02]]) {
      ground.setAttribute(name, value);
    }
    scrub.value = frame;
    const words = data.timed
      ? (frame / data.fps).toFixed(2) + " of " + ((data.frames - 1) / data.fps).toFixed(2) + " s"
      : "frame " + (frame + 1) + " of " + data.frames;
    time.textContent = words;
    scrub.setAttribute("aria-valuetext", words);
    play.textContent = state.plays ? "Pause" : "Play";
  }

  function tick(now) {
    if (!state.plays) return;
    if (state.last !== null) {
      const gone = Math.min((now - state.last) / 1000, 0.25) * data.fps * Number(speed.value);
      state.frame = (state.frame + gone) % data.frames;
    }
    state.last = now;
    draw();
    state.request = requestAnimationFrame(tick);
  }

  function setPlaying(plays) {
    state.plays = plays;
    state.last = null;
    cancelAnimationFrame(state.request);
    draw();
    if (plays) state.request = requestAnimationFrame(tick);
  }

  function show(frame) {
    state.frame = Math.max(0, Math.min(data.frames - 1, frame));
    setPlaying(false);
  }

  function turn(yaw) { state.yaw = yaw; draw(); }

  play.addEventListener("click", () => setPlaying(!state.plays), own);
  scrub.addEventListener("input", () => show(Number(scrub.value)), own);
  follow.addEventListener("change", draw, own);
  find("front").addEventListener("click", () => turn(data.yaw), own);
  find("side").addEventListener("click", () => turn(data.yaw + Math.PI / 2), own);
  find("back").addEventListener("click", () => turn(data.yaw + Math.PI), own);
  still.addEventListener("change", () => { if (still.matches) setPlaying(false); }, own);
  figure.addEventListener("keydown", (event) => {
    if (event.key === " ") setPlaying(!state.plays);
    else if (deep && event.key === "ArrowLeft") turn(state.yaw - TURN);
    else if (deep && event.key === "ArrowRight") turn(state.yaw + TURN);
    else if (event.key === ",") show(Math.floor(state.frame) - 1);
    else if (event.key === ".") show(Math.floor(state.frame) + 1);
    else return;
    event.preventDefault();
  }, own);
  let held = null;
  figure.addEventListener("pointerdown", (event) => {
    if (!deep) return;
    held = [event.clientX, state.yaw];
    figure.setPointerCapture(event.pointerId);
  }, own);
  figure.addEventListener("pointermove", (event) => {
    if (held) turn(held[1] - (event.clientX - held[0]) / 120);
  }, own);
  for (const name of ["pointerup", "pointercancel"]) {
    figure.addEventListener(name, () => { held = null; }, own);
  }
  setPlaying(state.plays);
  return {
    id: data.id,
    plays: () => state.plays,
    turned: () => state.yaw - data.yaw,
    stop: () => {
      ended.abort();
      cancelAnimationFrame(state.request);
      if (root.player && root.player.id === data.id) delete root.player;
    },
  };
}
"""


PLAYER = st.components.v2.component("gaitforge_stick_figure", html=HTML, css=CSS, js=JS)


def show_figure(numbers: Numbers, key: str) -> None:
    """Show the player with the numbers of `make_figure`."""
    PLAYER(data=numbers, key=key)
