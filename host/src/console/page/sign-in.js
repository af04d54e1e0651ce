// Signing in: the token goes to the console once, which gives a cookie for it.

const form = document.getElementById("form");
const field = document.getElementById("token");
const problem = document.getElementById("error");

async function signIn(token) {
  const answer = await fetch("console/session", {
    method: "POST",
    headers: { "content-type": "application/json", "x-switchover-console": "1" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok) return location.reload();
  problem.textContent = answer.status === 401 ? "That is not the token." : (await answer.json()).error;
  problem.hidden = false;
  field.select();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(field.value).catch((error) => {
    problem.textContent = `The console cannot be reached: ${error.message}`;
    problem.hidden = false;
  });
});

// A link may carry the token behind the #, which no server gets to see.
const link = new URLSearchParams(location.hash.slice(1)).get("token");
if (link) {
  history.replaceState(null, "", location.pathname);
  signIn(link).catch(() => {});
}
