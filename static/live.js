/* Keeps a visible page current: polls for its live part, counts down by the server's clock, copies
   and shares links, and submits a form only once. */
"use strict";
(() => {
  const EVERY = 3000, LONGEST = 30000; // milliseconds between two polls; the longest after failures
  const WAITS = [2000, 3000, 5000, 8000]; // while a payment is being confirmed; then LONGEST
  const live = document.getElementById("live");
  const said = document.getElementById("said");
  const stale = document.getElementById("stale");
  const served = document.querySelector("[data-now]");
  let ahead = served ? Number(served.dataset.now) - Date.now() : 0; // server's clock minus ours, ms
  let seenAt = Date.now(), failures = 0, waited = 0, busy = false, timer = 0, hiddenAt = 0;
  const reached = new Set(); // moments that have passed and caused a poll or a reload

  const two = (n) => String(n).padStart(2, "0");
  const shanghai = new Intl.DateTimeFormat( // as all moments on the pages
    "en-GB", { timeZone: "Asia/Shanghai", hour: "2-digit", minute: "2-digit" });
  const days = document.documentElement.lang === "en" ? " d " : " 天 ";

  function clock(ms) {
    const s = Math.max(0, Math.floor(ms / 1000));
    const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24;
    const rest = two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
    return d ? d + days + two(h) + ":" + rest : h ? two(h) + ":" + rest : rest;
  }

  function tick() {
    const now = Date.now() + ahead;
    for (const each of document.querySelectorAll("[data-until]")) {
      const until = Number(each.dataset.until), text = clock(until - now);
      if (each.textContent !== text) each.textContent = text;
      if (until <= now && !reached.has(until)) {
        reached.add(until);
        if (live) soon(300);
        else renew(1000);
      }
    }
  }

  /* Milliseconds until the next poll. Shows a notice if waiting for a payment takes long. */
  function pause() {
    const later = live?.querySelector("[data-later]");
    if (!later) return EVERY + Math.random() * 300;
    if (waited < WAITS.length) return WAITS[waited++];
    if (later.hidden) said.textContent = later.textContent;
    later.hidden = false;
    return LONGEST;
  }

  function soon(wait) {
    clearTimeout(timer);
    timer = setTimeout(poll, wait);
  }

  /* Reload the list of orders, which does not poll, unless the browser is offline. */
  function renew(wait) {
    if (!served || live) return;
    setTimeout(() => { if (!document.hidden && navigator.onLine) location.reload(); }, wait);
  }

  async function poll() {
    if (!live || busy || document.hidden) return;
    busy = true;
    let wait;
    const limit = new AbortController(), late = setTimeout(() => limit.abort(), 10000);
    try {
      const asked = Date.now();
      const answer = await fetch(live.dataset.src, {
        headers: { "If-None-Match": live.dataset.etag }, cache: "no-store", redirect: "manual",
        signal: limit.signal,
      });
      if (answer.status === 429) {
        wait = 1000 * Number(answer.headers.get("Retry-After") || 10);
      } else if (answer.status === 200 || answer.status === 304) {
        ahead = Number(answer.headers.get("X-Now")) - (asked + Date.now()) / 2;
        if (answer.status === 200) show(await answer.text(), answer.headers.get("ETag"));
        seenAt = Date.now();
        failures = 0;
        stale.textContent = "";
        wait = pause();
      } else if (answer.status < 500) {
        location.reload(); // gone, signed out or (0) elsewhere: the whole page says which
        return;
      } else {
        throw new Error(answer.status);
      }
    } catch {
      failures += 1;
      wait = Math.min(LONGEST, EVERY * 2 ** Math.min(failures, 4));
      if (failures > 1) {
        const at = shanghai.format(seenAt + ahead);
        stale.textContent = stale.dataset.text.replace("{time}", at);
      }
    } finally {
      clearTimeout(late);
      busy = false;
    }
    soon(wait);
  }

  function show(html, etag) {
    const state = () => live.querySelector("[data-state]")?.dataset.state;
    const before = state(), focused = document.activeElement, key = focused?.dataset.key;
    const had = live.contains(focused), unfolded = live.querySelector("details[open]");
    live.innerHTML = html;
    if (unfolded) live.querySelector("details")?.setAttribute("open", "");
    live.dataset.etag = etag;
    offer();
    if (had) {
      const same = key && live.querySelector(`[data-key="${CSS.escape(key)}"]:not([hidden])`);
      (same || live.querySelector("[data-headline]")).focus({ preventScroll: true });
    }
    if (state() !== before) said.textContent = live.querySelector("[data-headline]").textContent;
    // Title and rules are not in the live part.
    if (state() !== before && [state(), before].includes("HIDDEN")) location.reload();
    tick();
  }

  /* Show the buttons that need scripts. */
  function offer() {
    const canShare = Boolean(navigator.share);
    for (const button of document.querySelectorAll("[data-share]")) button.hidden = !canShare;
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      const second = canShare && button.classList.contains("main");
      if (second) button.classList.replace("main", "second");
    }
  }

  async function copy(button) {
    const input = button.parentElement.querySelector("input");
    try {
      await navigator.clipboard.writeText(input.value);
    } catch {
      input.select();
      if (!document.execCommand("copy")) return; // it stays selected, to be copied by hand
    }
    const label = (button.dataset.label ??= button.textContent); // a second tap finds "done" there
    button.textContent = button.dataset.done;
    if (said) said.textContent = button.dataset.done;
    setTimeout(() => (button.textContent = label), 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-share]");
    if (!button) return;
    if (button.matches("[data-copy]")) copy(button);
    else {
      const box = button.parentElement, url = box.querySelector("input").value;
      navigator.share({ title: document.title, url }).catch((error) => {
        if (error.name !== "AbortError") copy(box.querySelector("[data-copy]")); // not cancelled
      });
    }
  });
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "1";
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hiddenAt = Date.now();
      return;
    }
    tick();
    soon(0);
    if (Date.now() - hiddenAt > LONGEST) renew(0);
  });
  addEventListener("online", () => soon(0));
  addEventListener("pageshow", (event) => {
    for (const form of document.forms) delete form.dataset.sent;
    if (event.persisted && !live) location.reload(); // a list, which does not poll
    else if (event.persisted) { tick(); soon(0); }
  });

  /* A picture that does not load leaves the letter below it. */
  function lost(image) {
    if (image.tagName === "IMG") image.hidden = true;
  }

  document.addEventListener("error", (event) => lost(event.target), true);
  for (const image of document.images) if (image.complete && !image.naturalWidth) lost(image);
  offer();
  tick();
  setInterval(() => { if (!document.hidden) tick(); }, 250);
  soon(pause());
})();
