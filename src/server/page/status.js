// Refreshes the status page every ten seconds, and says so when it cannot.
"use strict";

const INTERVAL_MS = 10_000;
const TIMEOUT_MS = 8_000;

/** Whether the reader is using what a refresh would replace. */
function isInUse() {
  const focused = document.activeElement;
  const isTyping = focused !== null && focused.closest("form") !== null;
  return document.hidden || isTyping || String(document.getSelection()) !== "";
}

function tellFailure(reason) {
  document.getElementById("stale")?.remove();
  const banner = document.createElement("p");
  banner.id = "stale";
  banner.className = "headline bad";
  banner.setAttribute("role", "alert");
  banner.textContent = `The exporter is not responding (${reason}). The data below is outdated.`;
  document.querySelector("main").prepend(banner);
}

async function refresh() {
  if (isInUse()) {
    return;
  }
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (isInUse()) {
      return;
    }
    document.title = fresh.title;
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
  } catch (error) {
    tellFailure(error.message);
  }
}

setInterval(refresh, INTERVAL_MS);
document.addEventListener("visibilitychange", refresh);
