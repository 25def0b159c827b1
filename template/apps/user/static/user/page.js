"use strict";

const form = document.querySelector("form");
const button = form.querySelector("button");
const status = form.querySelector("[role=status]");

// The token comes behind "#", which browsers send to no server; then it leaves the address bar.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);

async function call() {
  const body = Object.fromEntries(new FormData(form));
  if (token) body.token = token;
  const response = await fetch(form.action, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Accept-Language": document.documentElement.lang },
    body: JSON.stringify(body),
  });
  return { done: response.ok, answer: await response.json() };
}

function show(message, done) {
  status.textContent = message;
  status.className = done ? "done" : "failed";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  try {
    const { done, answer } = await call();
    show(done ? form.dataset.done : Object.values(answer)[0].toString(), done);
    if (!done) button.disabled = false;
  } catch {
    show(form.dataset.failed, false);
    button.disabled = false;
  }
});
