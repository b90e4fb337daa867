/* Reloads the page when its state changes or says that it takes long, counts down, logs in after a
   scan, and submits a form only once. */
"use strict";
(() => {
  const PAUSES = [2000, 3000, 5000, 8000, 10000];
  const SCAN = 3000; // between two looks while a code is valid, which is minutes
  const polled = document.querySelector("[data-poll]");
  const login = document.querySelector("[data-login]");
  const ahead = Number(document.body.dataset.now) * 1000 - Date.now(); // the server's clock
  let tries = 0, timer = 0, busy = false;

  function soon(wait) {
    clearTimeout(timer);
    timer = setTimeout(look, wait);
  }

  async function look() {
    if (document.hidden || busy || !(polled || login)) return;
    busy = true; // two logins at once would end one another's session
    const limit = new AbortController(), late = setTimeout(() => limit.abort(), 10000);
    try {
      if (login ? await scanned(limit.signal) : await changed(limit.signal)) return;
    } catch {
      /* the shop does not respond: poll again */
    } finally {
      clearTimeout(late);
      busy = false;
    }
    soon(login ? SCAN : PAUSES[Math.min(tries, PAUSES.length - 1)]);
    tries++;
    if (tries >= PAUSES.length) for (const each of document.querySelectorAll("[data-late]")) each.hidden = false;
  }

  async function changed(signal) {
    const answer = await fetch(polled.dataset.poll, { cache: "no-store", redirect: "manual", signal });
    const signedOut = answer.type === "opaqueredirect"; // to the login
    if (!signedOut && (!answer.ok || (await answer.json()).state === polled.dataset.state)) return false;
    location.reload();
    return true;
  }

  async function scanned(signal) {
    const form = login.querySelector("form");
    const headers = { Accept: "application/json" };
    const body = new FormData(form);
    const answer = await fetch(form.action, { method: "POST", body, headers, signal });
    const { state, next } = await answer.json();
    if (state === "done") location.assign(next);
    if (state === "expired") {
      login.querySelector("[data-expired]").hidden = false;
      login.querySelector("[data-valid]").hidden = true;
    }
    return state !== "waiting";
  }

  function tick() {
    for (const each of document.querySelectorAll("[data-until]")) {
      const ends = Number(each.dataset.until) * 1000;
      const left = Math.max(0, Math.floor((ends - Date.now() - ahead) / 1000));
      const two = (n) => String(n).padStart(2, "0");
      const hours = left < 3600 ? "" : `${two(Math.floor(left / 3600))}:`;
      const text = `${hours}${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
      if (each.textContent !== text) each.textContent = text;
    }
  }

  function release(form) {
    delete form.dataset.sent;
    for (const each of form.querySelectorAll("[aria-busy]")) each.removeAttribute("aria-busy");
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    event.submitter?.setAttribute("aria-busy", "true");
    setTimeout(() => release(form), 15000); // nothing reports that loading was stopped
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { tries = 0; soon(0); } });
  addEventListener("pageshow", (event) => {
    for (const form of document.forms) release(form);
    if (event.persisted) location.reload(); // restored by the back button: it may be out of date
  });

  /* A picture that does not load leaves the letter below it. */
  function lost(image) {
    if (image.tagName === "IMG") image.hidden = true;
  }

  document.addEventListener("error", (event) => lost(event.target), true);
  for (const image of document.images) if (image.complete && !image.naturalWidth) lost(image);
  tick();
  setInterval(tick, 500);
  soon(PAUSES[0]);
})();
